/* The table of encoder models. */
#ifndef RDK_DEFLATE_ENCODER_TABLE_H
#define RDK_DEFLATE_ENCODER_TABLE_H

#include "encoder.h"

/* Returns the model with this id, or NULL. */
const rdk_model *rdk_model_find(int id);

#endif
