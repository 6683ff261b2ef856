/* 1 if the two ranges hold the same bytes. */
int rdk_equal(const uint8_t *left, const uint8_t *right, size_t length);

/* The next stretch at or after `from` whose blocks are not all zeros: its start, and its end in `stop`. Blocks are
 * counted from 0, the last may be short. Start and end are `length` when only zeros are left. */
uint64_t rdk_data_run(const uint8_t *bytes, uint64_t length, uint64_t block, uint64_t from, uint64_t *stop);

/* memmove, for buffers so long that nobody else should wait for it. */
void rdk_copy(uint8_t *out, const uint8_t *bytes, size_t length);

/* malloc and free, for buffers so large that nobody else should wait until the system has taken them back. */
void *rdk_allocate(size_t length);
void rdk_release(void *buffer);

/* madvise(MADV_DONTNEED): the pages of a shared mapping of a file leave this process's memory. `start` is where a page
 * begins. It is advice: nothing tells when it was not taken. */
void rdk_discard_pages(uint8_t *start, size_t length);

/* Reads `count` LEB128 numbers. Returns the bytes that they take, or RDK_E_CORRUPT: they end too early, or one exceeds
 * 64 bits. */
int64_t rdk_leb128_take(const uint8_t *bytes, size_t length, uint64_t *out, size_t count);
