/* Reducto's C kernel: the public header.
 *
 * Rules of every function here: it takes pointers with lengths, returns a status (RDK_OK or a negative RDK_E_*),
 * never prints, exits or allocates beyond what its documentation says, bounds every output, and keeps no globals,
 * so that any number of threads may run it at once without the interpreter's lock. */
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
