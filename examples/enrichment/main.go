// Command enrichment creates the SQLite file of the example from accounts.sql.
package main

import (
	"database/sql"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"

	_ "modernc.org/sqlite"
)

//go:embed accounts.sql
var statements string

func main() {
	file := flag.String("out", "examples/enrichment/accounts.db", "the `file` to create")
	flag.Parse()
	if err := build(*file); err != nil {
		log.Fatal(err)
	}
	fmt.Println("made", *file)
}

// build creates the file. It replaces an existing one.
func build(file string) (err error) {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.Exec(statements)
	return err
}
