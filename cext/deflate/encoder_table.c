#include "encoder_table.h"

extern const rdk_family rdk_family_go;
extern const rdk_family rdk_family_go_fast;
extern const rdk_family rdk_family_zlib;
extern const rdk_family rdk_family_gnu;
extern const rdk_family rdk_family_klauspost;
extern const rdk_family rdk_family_pigz;

/* The order is the one in which `rdk_model_at` lists the models; where several fit a stream, planning prefers the
 * earlier. */
static const rdk_family *const families[] = {
    &rdk_family_go, &rdk_family_go_fast, &rdk_family_zlib, &rdk_family_gnu, &rdk_family_klauspost, &rdk_family_pigz,
};
enum { FAMILIES = sizeof families / sizeof *families };

static const rdk_model *at(size_t index) {
    for (size_t f = 0; f < FAMILIES; f++) {
        if (index < families[f]->count) return &families[f]->models[index];
        index -= families[f]->count;
    }
    return NULL;
}

const rdk_model *rdk_model_find(int id) {
    const rdk_model *model;
    for (size_t i = 0; (model = at(i)) != NULL; i++)
        if (model->id == id) return model;
    return NULL;
}

int rdk_model_count(void) {
    size_t count = 0;
    for (size_t f = 0; f < FAMILIES; f++) count += families[f]->count;
    return (int)count;
}

int rdk_model_at(int index) {
    const rdk_model *model = index < 0 ? NULL : at((size_t)index);
    return model ? model->id : RDK_E_ARGUMENT;
}

const char *rdk_model_name(int id) {
    const rdk_model *model = rdk_model_find(id);
    return model ? model->name : NULL;
}

int rdk_model_describe(int id, rdk_model_facts *facts) {
    const rdk_model *model = rdk_model_find(id);
    if (model == NULL) return RDK_E_ARGUMENT;
    *facts = (rdk_model_facts){.warmup_bytes = model->warmup_bytes,
                               .lookahead_bytes = model->lookahead_bytes,
                               .segment_bytes = model->segment_bytes,
                               .align_bytes = model->align_bytes,
                               .level = model->level == RDK_NO_LEVEL ? -1 : model->level,
                               .reuses_tokens = (model->flags & RDK_REUSES_TOKENS) != 0};
    return RDK_OK;
}

uint32_t rdk_model_detect(int id, const rdk_block_info *blocks, size_t count) {
    const rdk_model *model = rdk_model_find(id);
    return model && model->detect ? model->detect(blocks, count) : 0;
}
