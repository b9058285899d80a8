// Package blocks holds the shared code for block-structured protocols. Anthropic's Messages and Bedrock's Converse
// have the same concepts under other names.
//
// It owns three parts: a conversation as alternating turns of blocks ([Conversation]), the assembly of a stream by
// blocks ([Turn]), and the limit on a stream's silence ([Watched]). It reads and sends nothing itself. A Turn belongs
// to one goroutine; the rest is safe for concurrent use.
//
// Start reading at [Turn].
package blocks
