// Compresses stdin to stdout with the toolchain's own compress/gzip: go_oracle LEVEL [WRITE_BYTES [FLUSH_EVERY]].
package main

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strconv"
)

func number(index, otherwise int) int {
	if len(os.Args) <= index {
		return otherwise
	}
	value, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	writer, err := gzip.NewWriterLevel(out, number(1, -1))
	if err != nil {
		panic(err)
	}
	buffer := make([]byte, number(2, 32<<10))
	every, since := number(3, 0), 0
	for {
		n, err := io.ReadFull(os.Stdin, buffer)
		if _, err := writer.Write(buffer[:n]); err != nil {
			panic(err)
		}
		if since += n; every > 0 && since >= every {
			since = 0
			if err := writer.Flush(); err != nil {
				panic(err)
			}
		}
		if err != nil {
			break
		}
	}
	if err := writer.Close(); err != nil {
		panic(err)
	}
}
