// Package s3 reads and writes objects of S3-compatible stores: s3://bucket/key.
//
// Endpoint, region and credentials come from the environment, under the names of AWS. Errors never contain a credential.
package s3
