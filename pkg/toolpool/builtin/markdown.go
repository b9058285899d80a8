package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	htmltomarkdown "github.com/JohannesKaufmann/html-to-markdown/v2"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/batchagent/batchagent/pkg/internal/confine"
)

const (
	// maxIndents limits the nesting of quotes and lists. Each writes its mark before every line of its content, so the
	// result grows with the product.
	maxIndents = 10
	// maxDepth limits the nesting of elements in a conversion. A deeper page is returned as plain text.
	maxDepth = 200
	// maxMarkdown limits the output of the converting process, in bytes. The pool cuts it to maxPageText.
	maxMarkdown = 1 << 20
)

// markdownTask converts pages in its own process, because a conversion cannot be cancelled.
var markdownTask = confine.New("markdown", confine.Limits{Memory: 256 << 20, CPU: 10 * time.Second}, func(page []byte) ([]byte, error) {
	return toMarkdown(page)
})

// markdown returns the text of an HTML page as Markdown.
func markdown(ctx context.Context, page string) (string, error) {
	text, err := markdownTask.Do(ctx, []byte(page))
	if stopped, ok := errors.AsType[*confine.StoppedError](err); ok {
		return "", fmt.Errorf("the conversion of the HTML %w; ask for another page", stopped)
	}
	if err != nil && ctx.Err() == nil {
		return "", errors.New("the HTML cannot be read")
	}
	return string(text), err
}

func toMarkdown(page []byte) ([]byte, error) {
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil || !flatten(doc) {
		return plainText(page), nil // nested too deeply
	}
	text, err := htmltomarkdown.ConvertNode(doc)
	if err != nil {
		return nil, err
	}
	return text[:min(len(text), maxMarkdown)], nil
}

// flatten turns quotes and lists beyond maxIndents into plain blocks. It returns false if the page is deeper than maxDepth.
func flatten(doc *html.Node) bool {
	depth, indents := 0, 0
	indenting := map[*html.Node]bool{}
	for n := doc; ; {
		if n.Type == html.ElementNode && (n.DataAtom == atom.Blockquote || n.DataAtom == atom.Ul || n.DataAtom == atom.Ol || n.DataAtom == atom.Li) {
			if indents >= 2*maxIndents { // a list and its item count as two
				n.Data, n.DataAtom = "div", atom.Div
			} else {
				indents++
				indenting[n] = true
			}
		}
		if n.FirstChild != nil {
			n = n.FirstChild
			if depth++; depth > maxDepth {
				return false
			}
			continue
		}
		for n.NextSibling == nil {
			if indenting[n] {
				indents--
			}
			if n = n.Parent; n == nil || n == doc {
				return true
			}
			depth--
		}
		if indenting[n] {
			indents--
		}
		n = n.NextSibling
	}
}

// plainText returns a page's text without scripts and styles.
func plainText(page []byte) []byte {
	var out bytes.Buffer
	hidden := ""
	for z := html.NewTokenizer(bytes.NewReader(page)); out.Len() < maxMarkdown; {
		switch z.Next() {
		case html.ErrorToken:
			return out.Bytes()
		case html.StartTagToken:
			if name, _ := z.TagName(); string(name) == "script" || string(name) == "style" {
				hidden = string(name)
			}
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == hidden {
				hidden = ""
			}
		case html.TextToken:
			if text := strings.TrimSpace(string(z.Text())); hidden == "" && text != "" {
				out.WriteString(text + "\n")
			}
		}
	}
	return out.Bytes()
}
