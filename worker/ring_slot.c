/* ring_slot - memory inside a slot of the ring; see ring.h */
#include "worker/ring.h"

#include <string.h>

uint64_t ring_take(struct ring_batch *batch, uint64_t bytes)
{
    uint64_t place = (batch->used + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    if (place > RING_SLOT_BYTES || bytes > RING_SLOT_BYTES - place)
        return 0;
    batch->used = place + bytes;
    return place;
}

uint64_t ring_take_text(struct ring_batch *batch, const char *text)
{
    size_t size = strlen(text) + 1;
    uint64_t place = batch->used;
    if (place > RING_SLOT_BYTES || size > RING_SLOT_BYTES - place)
        return 0;
    memcpy((uint8_t *)batch + place, text, size);
    batch->used = place + size;
    return place;
}

void ring_do(struct ring_batch *batch, uint64_t from, uint64_t end)
{
    __atomic_store_n(&batch->doing_from, from, __ATOMIC_RELEASE);
    __atomic_store_n(&batch->doing_end, end, __ATOMIC_RELEASE);
}

struct ring_rows ring_doing(const struct ring_batch *batch, uint64_t rows)
{
    uint64_t from = __atomic_load_n(&batch->doing_from, __ATOMIC_ACQUIRE);
    uint64_t end = __atomic_load_n(&batch->doing_end, __ATOMIC_ACQUIRE);
    if (from >= end || end > rows) /* nothing yet, or between the two words, or gone wild */
        return (struct ring_rows){0, 0};
    return (struct ring_rows){from, end};
}

void *ring_at(struct ring_batch *batch, uint64_t place, uint64_t count, uint64_t bytes)
{
    if (place < sizeof *batch || place > RING_SLOT_BYTES)
        return NULL;
    if (bytes != 0 && count > (RING_SLOT_BYTES - place) / bytes)
        return NULL;
    return (uint8_t *)batch + place;
}

const char *ring_text(struct ring_batch *batch, uint64_t place)
{
    const char *text = ring_at(batch, place, 1, 1);
    if (!text || !memchr(text, '\0', RING_SLOT_BYTES - place))
        return "";
    return text;
}

bool ring_describe(struct ring_batch *batch, struct ring_value *value, const struct tensor *tensor)
{
    *value = (struct ring_value){
        .name_at = ring_take_text(batch, tensor->name),
        .dtype = tensor->dtype,
        .rank = tensor->rank,
    };
    memcpy(value->dims, tensor->dims, sizeof value->dims);
    return value->name_at != 0;
}

bool ring_tensor(struct ring_batch *batch, const struct ring_value *value, struct tensor *tensor)
{
    uint64_t bytes;
    *tensor = (struct tensor){0};
    if (!dtype_known(value->dtype) || value->rank > TENSOR_RANK_MAX || value->name_at == 0)
        return false;
    if (!tensor_size((enum dtype)value->dtype, value->dims, value->rank, &bytes))
        return false;
    if (value->dtype != DTYPE_BYTES && bytes != value->bytes)
        return false;
    if (value->bytes > 0 &&
        (value->data_at % TENSOR_ALIGN != 0 || !ring_at(batch, value->data_at, value->bytes, 1)))
        return false;
    tensor->name = ring_text(batch, value->name_at);
    tensor->dtype = (enum dtype)value->dtype;
    tensor->rank = value->rank;
    memcpy(tensor->dims, value->dims, sizeof tensor->dims);
    tensor->data = value->bytes ? ring_at(batch, value->data_at, value->bytes, 1) : NULL;
    tensor->bytes = (size_t)value->bytes;
    return true;
}
