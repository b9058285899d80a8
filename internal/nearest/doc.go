// Package nearest finds a batch, and names the nearest known ID if it is missing.
package nearest
