"""The `.rc` file: a corpus of plain bytes with its tables, written once and then read in mapped memory."""
