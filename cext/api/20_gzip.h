/* gzip and deflate: reading streams, and rebuilding them bit for bit. See cext/README.md. */

/* One deflate block of a real stream. Bit positions count from the member's first deflate bit. */
typedef struct rdk_block_info {
    uint64_t bit_start;     /* of BFINAL */
    uint64_t plain_start;   /* of its first plain byte in the member */
    uint32_t header_bits;   /* BFINAL, BTYPE and tables; for a stored block up to its first data byte */
    uint8_t type;           /* 0 stored, 1 fixed, 2 dynamic */
    uint8_t final;
    uint8_t has_match;      /* complete once the block has ended */
    uint8_t ended;
    uint64_t tokens;        /* so far */
} rdk_block_info;
