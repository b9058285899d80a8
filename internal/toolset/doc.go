// Package toolset makes a worker's tools: the built-in ones, and those that its operator declares in tools.yaml.
//
// It owns the file's form and its secrets. Values of ${NAME} are taken from the environment when the file is read;
// what they expand to is struck out of everything that a tool says. A spec can name tools and never declare one.
//
// [Read] looks at the file alone, [Open] starts what it names. A [Set] owns what its tools use: servers, databases,
// connections and an open folder.
//
// Start reading at [Read].
package toolset
