/* Growing arrays with a bound. */
#ifndef RDK_BASE_ARRAY_H
#define RDK_BASE_ARRAY_H

#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

typedef struct rdk_array {
    void *items; /* the owner frees them */
    size_t count, capacity;
} rdk_array;

/* Appends a copy of an item of `item_bytes`. RDK_E_LIMIT once there are about `limit` items (tested when the array is
 * full, so that it may have less than twice as many); RDK_E_MEMORY. */
static inline int rdk_array_add(rdk_array *array, const void *item, size_t item_bytes, size_t limit) {
    if (array->count == array->capacity) {
        size_t capacity = array->capacity ? 2 * array->capacity : 64;
        if (array->count >= limit) return RDK_E_LIMIT;
        void *items = realloc(array->items, capacity * item_bytes);
        if (items == NULL) return RDK_E_MEMORY;
        array->items = items;
        array->capacity = capacity;
    }
    memcpy((uint8_t *)array->items + array->count * item_bytes, item, item_bytes);
    array->count++;
    return RDK_OK;
}

#endif
