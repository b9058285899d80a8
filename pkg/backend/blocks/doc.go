// Package blocks holds what the adapters of block-structured protocols share: Anthropic's Messages and Bedrock's
// Converse say the same things in other words.
//
// It owns three ideas: a conversation as alternating turns of blocks ([Conversation]), a stream put together block by
// block ([Turn]), and the bound on a stream's silence ([Watched]). It reads and sends nothing. A Turn belongs to one goroutine; the rest is safe for concurrent use.
//
// Start reading at [Turn].
package blocks
