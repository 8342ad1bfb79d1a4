/* run_texts - see run_texts.h */
#include "worker/run_texts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

/* Dims as the first element of each array shows them. */
static enum status find_dims(const json_t *j, struct tensor *t, struct error *why)
{
    for (; json_is_array(j); j = json_array_get(j, 0)) {
        if (t->rank == TENSOR_RANK_MAX)
            return fail(why, STATUS_INVALID, "at most %d axes are supported", TENSOR_RANK_MAX);
        t->dims[t->rank++] = (int64_t)json_array_size(j);
    }
    return STATUS_OK;
}

/* Append the texts below `j`, which is on `axis`; with t->data NULL only count their octets. */
static bool take_texts(const json_t *j, uint32_t axis, struct tensor *t)
{
    if (axis < t->rank) {
        bool fits = json_is_array(j) && (int64_t)json_array_size(j) == t->dims[axis];
        for (size_t i = 0; fits && i < json_array_size(j); i++)
            fits = take_texts(json_array_get(j, i), axis + 1, t);
        return fits;
    }
    if (!json_is_string(j) || json_string_length(j) > UINT32_MAX)
        return false;
    uint32_t len = (uint32_t)json_string_length(j);
    if (t->data) {
        memcpy((char *)t->data + t->bytes, &len, sizeof len);
        memcpy((char *)t->data + t->bytes + sizeof len, json_string_value(j), len);
    }
    t->bytes += sizeof len + len;
    return true;
}

enum status texts_load(const char *path, struct tensor *t, struct error *why)
{
    json_error_t problem;
    json_t *j = json_load_file(path, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (!j)
        return fail(why, STATUS_INVALID, "%s: %s", path, problem.text);
    t->dtype = DTYPE_BYTES;
    enum status s = find_dims(j, t, why);
    if (s == STATUS_OK && !take_texts(j, 0, t))
        s = fail(why, STATUS_INVALID,
                 "%s: expected texts, in arrays of the same length on each axis", path);
    if (s == STATUS_OK) {
        t->data = xaligned(t->bytes);
        t->bytes = 0;
        take_texts(j, 0, t);
    }
    json_decref(j);
    return s;
}

/* Take the texts of one sub-array off *at; NULL when one is no UTF-8. */
static json_t *make_json(const struct tensor *t, uint32_t axis, const char **at)
{
    if (axis == t->rank) {
        uint32_t len;
        memcpy(&len, *at, sizeof len);
        json_t *text = json_stringn(*at + sizeof len, len);
        *at += sizeof len + len;
        return text;
    }
    json_t *list = json_array();
    for (int64_t i = 0; i < t->dims[axis]; i++)
        if (json_array_append_new(list, make_json(t, axis + 1, at)) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

enum status texts_save(const char *path, const struct tensor *t, struct error *why)
{
    const char *at = t->data;
    json_t *j = make_json(t, 0, &at);
    if (!j)
        return fail(why, STATUS_UNSUPPORTED, "a text is no UTF-8, which JSON needs");
    char *text = json_dumps(j, JSON_ENCODE_ANY);
    enum status s = file_write(path, text, strlen(text), false, why);
    free(text);
    json_decref(j);
    return s;
}
