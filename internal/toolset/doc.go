// Package toolset creates a worker's tools: the built-in ones, and those that its operator declares in tools.yaml.
//
// It owns the file's format and its secrets. It replaces ${NAME} with the environment variable when it reads the file, and
// strikes the values out of all results of tools. A spec can name tools but cannot declare one.
//
// [Read] only reads the file. [Open] starts the servers and opens the databases in it. A [Set] owns the resources of its tools:
// servers, databases, connections and an open folder.
//
// Start reading at [Read].
package toolset
