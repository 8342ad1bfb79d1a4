/* registry - a sorted table behind a lock, made anew from all snapshots at each change */
#include "broker/registry.h"

#include "common/file.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 30) /* more than every bound of ours together */
#define FORMAT   "convoy-registry 1"

/* The nodes of one gateway's ledger. */
struct source {
    struct curve_key gateway;
    uint64_t version;            /* of `nodes` */
    struct registry_node *nodes; /* by key */
    size_t len;
    uint64_t draft_version; /* of the snapshot that is coming in */
    uint32_t draft_next;    /* part that must come next; 0: none is coming */
    struct registry_node *draft;
    size_t draft_len;
};

struct registry {
    struct source sources[REGISTRY_SOURCES];
    size_t sources_len;
    struct registry_node *configured; /* gateways of the configuration */
    size_t configured_len;
    char *path; /* of the file; NULL: none */
    bool dirty; /* the file does not hold what stands here */
    pthread_mutex_t lock;
    struct registry_node *table; /* under the lock: by key, each once */
    size_t len;
};

struct registry *registry_new(void)
{
    struct registry *self = xcalloc(1, sizeof *self);
    pthread_mutex_init(&self->lock, NULL);
    return self;
}

void registry_destroy(struct registry **self_p)
{
    struct registry *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->sources_len; i++) {
        free(self->sources[i].nodes);
        free(self->sources[i].draft);
    }
    pthread_mutex_destroy(&self->lock);
    free(self->configured);
    free(self->table);
    free(self->path);
    free(self);
    *self_p = NULL;
}

/* --- the table ---------------------------------------------------------------------------------
 */

static int by_key(const void *a, const void *b)
{
    const struct registry_node *left = a, *right = b;
    return memcmp(&left->key, &right->key, sizeof left->key);
}

/* Of two opinions on one key the stricter one holds. */
static int strictness(enum wire_standing standing)
{
    return standing == WIRE_REVOKED ? 2 : standing == WIRE_DRAINING ? 1 : 0;
}

static int by_key_strictest_first(const void *a, const void *b)
{
    const struct registry_node *left = a, *right = b;
    int order = by_key(a, b);
    return order ? order : strictness(right->standing) - strictness(left->standing);
}

/* Sort and keep the first of each key; returns how many are left. */
static size_t unique(struct registry_node *nodes, size_t len)
{
    size_t kept = 0;
    if (len > 0)
        qsort(nodes, len, sizeof *nodes, by_key_strictest_first);
    for (size_t i = 0; i < len; i++)
        if (kept == 0 || by_key(&nodes[kept - 1], &nodes[i]) != 0)
            nodes[kept++] = nodes[i];
    return kept;
}

static struct registry_node *find_in(struct registry_node *nodes, size_t len,
                                     const struct curve_key *key)
{
    struct registry_node want = {.key = *key};
    return len > 0 ? bsearch(&want, nodes, len, sizeof *nodes, by_key) : NULL;
}

static void append(struct registry_node **nodes, size_t *len, const struct registry_node *more,
                   size_t more_len)
{
    if (more_len == 0)
        return;
    *nodes = xrealloc(*nodes, (*len + more_len) * sizeof **nodes);
    memcpy(*nodes + *len, more, more_len * sizeof **nodes);
    *len += more_len;
}

/* The configuration is the operator's own word: no gateway overrules it. */
static void add_configured(const struct registry *self, struct registry_node **table, size_t *len)
{
    size_t ledger_len = *len;
    for (size_t i = 0; i < self->configured_len; i++) {
        struct registry_node *known = find_in(*table, ledger_len, &self->configured[i].key);
        if (known)
            *known = self->configured[i];
        else
            append(table, len, &self->configured[i], 1);
    }
    *len = unique(*table, *len);
}

static bool is_gateway(struct registry_node *table, size_t len, const struct curve_key *key)
{
    const struct registry_node *node = find_in(table, len, key);
    return node && node->role == WIRE_GATEWAY && node->standing != WIRE_REVOKED;
}

/* Add the nodes of every source that `table` lets in and that is not `counted` yet; false: none. */
static bool add_sources(const struct registry *self, bool counted[static REGISTRY_SOURCES],
                        struct registry_node **table, size_t *len)
{
    bool now[REGISTRY_SOURCES] = {false}, any = false;
    for (size_t i = 0; i < self->sources_len; i++)
        now[i] = !counted[i] && is_gateway(*table, *len, &self->sources[i].gateway);
    for (size_t i = 0; i < self->sources_len; i++) {
        if (!now[i])
            continue;
        append(table, len, self->sources[i].nodes, self->sources[i].len);
        counted[i] = any = true;
    }
    *len = unique(*table, *len);
    return any;
}

/* Outwards from the configuration: whoever is let in by a gateway that is out is out as well. The
 * lock is held for the exchange alone: handshakes do not wait for the sorting. */
static void publish(struct registry *self)
{
    struct registry_node *table = NULL;
    size_t len = 0;
    bool counted[REGISTRY_SOURCES] = {false};
    do
        add_configured(self, &table, &len);
    while (add_sources(self, counted, &table, &len));
    pthread_mutex_lock(&self->lock);
    struct registry_node *old = self->table;
    self->table = table;
    self->len = len;
    pthread_mutex_unlock(&self->lock);
    free(old);
}

bool registry_find(struct registry *self, const struct curve_key *key, struct registry_node *out)
{
    pthread_mutex_lock(&self->lock);
    const struct registry_node *node = find_in(self->table, self->len, key);
    if (node)
        *out = *node;
    pthread_mutex_unlock(&self->lock);
    return node != NULL;
}

size_t registry_members(struct registry *self)
{
    size_t count = 0;
    for (size_t i = 0; i < self->len; i++)
        count += self->table[i].standing != WIRE_REVOKED ? 1 : 0;
    return count;
}

size_t registry_gateways(struct registry *self)
{
    size_t count = 0;
    for (size_t i = 0; i < self->len; i++)
        count += self->table[i].standing != WIRE_REVOKED && self->table[i].role == WIRE_GATEWAY;
    return count;
}

/* --- the configuration -------------------------------------------------------------------------
 */

/* `KEY` or `KEY NAME`; the text is changed. */
static bool configure_one(struct registry *self, char *item)
{
    struct registry_node node = {.role = WIRE_GATEWAY, .standing = WIRE_MEMBER};
    char *name = item + strcspn(item, " \t");
    if (*name) {
        *name++ = '\0';
        name += strspn(name, " \t");
    }
    if (!curve_key_parse(&node.key, item))
        return false;
    text_copy(node.name, sizeof node.name, *name ? name : "gateway");
    text_clean(node.name);
    append(&self->configured, &self->configured_len, &node, 1);
    return true;
}

static enum status configure_file(struct registry *self, const char *path, struct error *why)
{
    char *text;
    size_t size;
    unsigned number = 0;
    enum status s = file_read(&text, &size, path, FILE_MAX, why);
    if (s != STATUS_OK)
        return fail(why, STATUS_INVALID,
                    "gateway_keys is neither public keys of 40 characters with commas between them "
                    "nor a file that can be read: %.200s",
                    path);
    char *rest = text;
    for (char *line; s == STATUS_OK && (line = strsep(&rest, "\n"));) {
        bool comment = line[0] == '#'; /* also a character of keys */
        number++;
        if (line[0] && !configure_one(self, line) && !comment)
            s = fail(why, STATUS_INVALID,
                     "%s:%u: expected a gateway's public key of 40 characters, then its name", path,
                     number);
    }
    free(text);
    return s;
}

enum status registry_configure(struct registry *self, const char *keys, struct error *why)
{
    char *copy = xstrdup(keys), *rest = copy;
    size_t before = self->configured_len;
    enum status s = STATUS_OK;
    for (char *item; s == STATUS_OK && keys[0] && (item = strsep(&rest, ","));)
        if (!configure_one(self, item + strspn(item, " ")))
            s = self->configured_len > before
                    ? fail(why, STATUS_INVALID,
                           "gateway_keys: '%.60s' is no public key of 40 characters", item)
                    : configure_file(self, keys, why);
    free(copy);
    publish(self);
    return s;
}

/* --- snapshots ---------------------------------------------------------------------------------
 */

static struct source *source_of(const struct registry *self, const struct curve_key *from)
{
    for (size_t i = 0; i < self->sources_len; i++)
        if (curve_key_equal(&self->sources[i].gateway, from))
            return (struct source *)&self->sources[i];
    return NULL;
}

/* The place of one that is out, when there is no other. */
static struct source *free_place(struct registry *self)
{
    if (self->sources_len < REGISTRY_SOURCES)
        return &self->sources[self->sources_len++];
    for (size_t i = 0; i < REGISTRY_SOURCES; i++) {
        if (is_gateway(self->table, self->len, &self->sources[i].gateway))
            continue;
        free(self->sources[i].nodes);
        free(self->sources[i].draft);
        return &self->sources[i];
    }
    return NULL;
}

static struct source *source_meet(struct registry *self, const struct curve_key *from)
{
    struct source *source = source_of(self, from);
    if (source)
        return source;
    source = free_place(self);
    if (source)
        *source = (struct source){.gateway = *from};
    return source;
}

static void draft_drop(struct source *source)
{
    free(source->draft);
    source->draft = NULL;
    source->draft_len = 0;
    source->draft_next = 0;
}

/* The draft takes the place of what was known; whether that is something else. */
static bool draft_use(struct registry *self, struct source *source)
{
    size_t len = unique(source->draft, source->draft_len);
    bool same = len == source->len && (len == 0 || memcmp(source->draft, source->nodes,
                                                          len * sizeof *source->nodes) == 0);
    bool newer = source->version != source->draft_version;
    free(source->nodes);
    source->nodes = source->draft;
    source->len = len;
    source->version = source->draft_version;
    source->draft = NULL;
    draft_drop(source);
    self->dirty = self->dirty || newer || !same;
    if (!same)
        publish(self);
    return !same;
}

/* The padding behind names too, so that equal nodes have equal octets. */
static void add_nodes(struct source *source, const struct registry_part *part)
{
    source->draft =
        xrealloc(source->draft, (source->draft_len + part->len + 1) * sizeof *source->draft);
    for (size_t i = 0; i < part->len; i++) {
        struct registry_node *node = &source->draft[source->draft_len++];
        memset(node, 0, sizeof *node);
        node->key = part->nodes[i].key;
        node->role = part->nodes[i].role;
        node->standing = part->nodes[i].standing;
        text_copy(node->name, sizeof node->name, part->nodes[i].name);
    }
}

enum status registry_take(struct registry *self, const struct curve_key *from,
                          const struct registry_part *part, bool *whole, bool *changed,
                          struct error *why)
{
    struct source *source = source_meet(self, from);
    *whole = *changed = false;
    if (!source)
        return fail(why, STATUS_TOO_LARGE,
                    "nodes of %d gateways are known, which is the most: stop the broker and remove "
                    "its file registry to forget those that are gone",
                    REGISTRY_SOURCES);
    if (part->part == 1) {
        draft_drop(source);
        source->draft_version = part->version;
        source->draft_next = 1;
    }
    if (source->draft_next != part->part || source->draft_version != part->version ||
        part->part > part->parts) {
        draft_drop(source);
        return fail(why, STATUS_MALFORMED, "part %" PRIu32 " of %" PRIu32 " does not follow",
                    part->part, part->parts);
    }
    if (source->draft_len + part->len > REGISTRY_NODES) {
        draft_drop(source);
        return fail(why, STATUS_TOO_LARGE, "a registry of more than %d nodes", REGISTRY_NODES);
    }
    add_nodes(source, part);
    source->draft_next++;
    if (part->part < part->parts)
        return STATUS_OK;
    *whole = true;
    if (source->draft_version < source->version)
        draft_drop(source); /* an older one: from before the gateway's file was restored, perhaps */
    else
        *changed = draft_use(self, source);
    return STATUS_OK;
}

uint64_t registry_version(const struct registry *self, const struct curve_key *from)
{
    const struct source *source = source_of(self, from);
    return source ? source->version : 0;
}

/* --- the file ----------------------------------------------------------------------------------
 */

/* "KEY ROLE STANDING NAME" */
static bool read_node(struct registry_node *node, char *line)
{
    unsigned role, standing;
    int end = 0;
    memset(node, 0, sizeof *node);
    if (strlen(line) < CURVE_TEXT_SIZE || line[CURVE_TEXT_SIZE - 1] != ' ')
        return false;
    line[CURVE_TEXT_SIZE - 1] = '\0';
    const char *rest = line + CURVE_TEXT_SIZE;
    if (!curve_key_parse(&node->key, line) ||
        sscanf(rest, "%1u %1u%n", &role, &standing, &end) != 2 || rest[end] != ' ')
        return false;
    node->role = (enum wire_role)role;
    node->standing = (enum wire_standing)standing;
    return role >= WIRE_GATEWAY && role <= WIRE_WORKER && standing >= WIRE_MEMBER &&
           standing <= WIRE_DRAINING && text_copy(node->name, sizeof node->name, rest + end + 1);
}

/* "gateway KEY VERSION" begins the nodes of one gateway. */
static struct source *read_source(struct registry *self, const char *line)
{
    char text[CURVE_TEXT_SIZE];
    struct curve_key key;
    uint64_t version;
    if (sscanf(line, "gateway %40s %" SCNu64, text, &version) != 2 || !curve_key_parse(&key, text))
        return NULL;
    struct source *source = source_meet(self, &key);
    if (source)
        source->version = version;
    return source;
}

static bool parse(struct registry *self, char *text)
{
    struct source *source = NULL;
    struct registry_node node;
    char *line = strsep(&text, "\n");
    if (strcmp(line, FORMAT) != 0)
        return false;
    while ((line = strsep(&text, "\n")) && line[0]) {
        if (strncmp(line, "gateway ", 8) == 0) {
            source = read_source(self, line);
            if (!source)
                return false;
        } else if (strcmp(line, "end") == 0) {
            return true;
        } else {
            if (!source || source->len == REGISTRY_NODES || !read_node(&node, line))
                return false;
            append(&source->nodes, &source->len, &node, 1);
        }
    }
    return false; /* cut short */
}

enum status registry_open(struct registry *self, const char *path, struct error *why)
{
    char *text;
    size_t size;
    self->path = xstrdup(path);
    enum status s = file_read(&text, &size, path, FILE_MAX, why);
    if (s == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (s != STATUS_OK)
        return s;
    if (!parse(self, text))
        s = fail(
            why, STATUS_INVALID,
            "%s: is damaged; remove it, and nodes can come in again as soon as a gateway is up",
            path);
    free(text);
    for (size_t i = 0; i < self->sources_len; i++)
        self->sources[i].len = unique(self->sources[i].nodes, self->sources[i].len);
    publish(self);
    return s;
}

static void write_text(const struct registry *self, FILE *file)
{
    char key[CURVE_TEXT_SIZE];
    fprintf(file, FORMAT "\n");
    for (size_t i = 0; i < self->sources_len; i++) {
        const struct source *source = &self->sources[i];
        fprintf(file, "gateway %s %" PRIu64 "\n", curve_key_text(key, &source->gateway),
                source->version);
        for (size_t j = 0; j < source->len; j++)
            fprintf(file, "%s %d %d %s\n", curve_key_text(key, &source->nodes[j].key),
                    source->nodes[j].role, source->nodes[j].standing, source->nodes[j].name);
    }
    fprintf(file, "end\n");
}

bool registry_unsaved(const struct registry *self)
{
    return self->dirty && self->path;
}

enum status registry_save(struct registry *self, struct error *why)
{
    char *text = NULL;
    size_t size = 0;
    if (!registry_unsaved(self))
        return STATUS_OK;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        panic("out of memory");
    write_text(self, file);
    fclose(file);
    enum status s = file_write_private(self->path, text, size, why);
    free(text);
    if (s == STATUS_OK)
        self->dirty = false;
    return s;
}
