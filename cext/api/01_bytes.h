/* Bytes and numbers that Python handles slowly, or only while it holds the interpreter's lock. */

/* Returns 1 if both ranges of `length` bytes are equal, else 0. */
int rdk_equal(const uint8_t *left, const uint8_t *right, size_t length);

/* Finds the next run of blocks that are not all zeros. Blocks have `block` bytes, more than 0, and are counted from the
 * first byte; the last one may be short. Returns where the first such block at or after `from`, a multiple of `block`,
 * begins, and sets *stop to where the run ends; both are `length` if only zeros are left. */
uint64_t rdk_data_run(const uint8_t *bytes, uint64_t length, uint64_t block, uint64_t from, uint64_t *stop);

/* Copies `length` bytes; both ranges may overlap (memmove). For buffers so long that other threads should run
 * meanwhile. */
void rdk_copy(uint8_t *out, const uint8_t *bytes, size_t length);

/* malloc and free, for buffers so large that other threads should run until the system has taken their pages back.
 * NULL: memory is short. */
void *rdk_allocate(size_t length);
void rdk_release(void *buffer);

/* Lets the pages of a mapping leave this process's memory (MADV_DONTNEED); of a mapped file they are read again when
 * they are used. `start` is a multiple of the page size. Advice only: nothing tells whether the system took it. */
void rdk_discard_pages(uint8_t *start, size_t length);

/* Reads `count` LEB128 numbers of at most 64 bits into `out`. Returns the bytes that they take, or RDK_E_CORRUPT: they
 * end too early, or one is longer. */
int64_t rdk_leb128_read_many(const uint8_t *bytes, size_t length, uint64_t *out, size_t count);
