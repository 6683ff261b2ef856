/* Reducto's C kernel: the public header.
 *
 * Rules for every function here. It takes pointers with lengths; a pointer may be NULL only where its length is 0 or
 * its comment says so, and lengths count items of the pointer's type. It returns a status (RDK_OK or a negative
 * RDK_E_*) or, where its comment says so, a number that is not negative. It reads and writes only what its arguments
 * name, never prints or exits, allocates only what its comment says, and keeps no globals. So any number of threads may
 * run it at once without the interpreter's lock, as long as none writes what another one uses. After an error outputs
 * are undefined unless a comment says otherwise.
 *
 * "Plain bytes" are a blob's bytes after decompression, "wire bytes" those that clients see; docs/glossary.md defines
 * all terms. */
#ifndef REDUCTO_KERNEL_H
#define REDUCTO_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "api/00_status.h"
#include "api/01_bytes.h"
#include "api/10_chunk.h"
#include "api/11_index.h"
#include "api/20_gzip.h"
#include "api/20_match.h"
#include "api/21_difference.h"

#endif
