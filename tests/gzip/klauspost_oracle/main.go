// Compresses stdin to stdout with klauspost/compress or klauspost/pgzip:
// klauspost_oracle gzip|pgzip LEVEL [WRITE_BYTES [FLUSH_EVERY]].
package main

import (
	"bufio"
	"io"
	"os"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
)

type flushWriter interface {
	io.WriteCloser
	Flush() error
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func number(index, otherwise int) int {
	if len(os.Args) <= index {
		return otherwise
	}
	value, err := strconv.Atoi(os.Args[index])
	check(err)
	return value
}

func open(encoder string, out io.Writer, level int) (flushWriter, error) {
	if encoder == "pgzip" {
		return pgzip.NewWriterLevel(out, level)
	}
	return gzip.NewWriterLevel(out, level)
}

func main() {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	writer, err := open(os.Args[1], out, number(2, -1))
	check(err)
	buffer := make([]byte, number(3, 32<<10))
	every, since := number(4, 0), 0
	for {
		n, end := io.ReadFull(os.Stdin, buffer)
		_, err := writer.Write(buffer[:n])
		check(err)
		if since += n; every > 0 && since >= every {
			since = 0
			check(writer.Flush())
		}
		if end != nil {
			break
		}
	}
	check(writer.Close())
}
