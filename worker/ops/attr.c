/* attr - attributes of a node by name; see op.h */
#include <string.h>

#include "worker/ops/op.h"

const struct attr *attr_find(struct node *node, const char *name)
{
    for (uint32_t i = 0; i < node->attrs_len; i++)
        if (strcmp(node->attrs[i].name, name) == 0) {
            node->attrs[i].read = true;
            return &node->attrs[i];
        }
    return NULL;
}

/* An attribute of another kind than asked for stays unread, and so is refused after check(). */
static const struct attr *of_kind(struct node *node, const char *name, enum attr_kind kind)
{
    const struct attr *a = attr_find(node, name);
    if (a && a->kind != kind) {
        node->attrs[a - node->attrs].read = false;
        return NULL;
    }
    return a;
}

void attr_ignore(struct node *node, const char *name)
{
    (void)attr_find(node, name);
}

int64_t attr_int(struct node *node, const char *name, int64_t otherwise)
{
    const struct attr *a = of_kind(node, name, ATTR_INT);
    return a ? a->i : otherwise;
}

float attr_float(struct node *node, const char *name, float otherwise)
{
    const struct attr *a = of_kind(node, name, ATTR_FLOAT);
    return a ? a->f : otherwise;
}

const char *attr_text(struct node *node, const char *name, const char *otherwise)
{
    const struct attr *a = of_kind(node, name, ATTR_TEXT);
    return a ? a->text : otherwise;
}

const int64_t *attr_ints(struct node *node, const char *name, size_t *len)
{
    const struct attr *a = of_kind(node, name, ATTR_INTS);
    *len = a ? a->len : 0;
    return a ? a->ints : NULL;
}

const float *attr_floats(struct node *node, const char *name, size_t *len)
{
    const struct attr *a = of_kind(node, name, ATTR_FLOATS);
    *len = a ? a->len : 0;
    return a ? a->floats : NULL;
}

const char *const *attr_texts(struct node *node, const char *name, size_t *len)
{
    const struct attr *a = of_kind(node, name, ATTR_TEXTS);
    *len = a ? a->len : 0;
    return a ? a->texts : NULL;
}

const struct tensor *attr_tensor(struct node *node, const char *name)
{
    const struct attr *a = of_kind(node, name, ATTR_TENSOR);
    return a ? &a->tensor : NULL;
}
