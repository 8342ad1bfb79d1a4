/* enrol - a peer that knows a token's secret becomes a node
 *
 *   ENROL -> checked -> ledger: use and node, together -> brokers have the key, or a second ->
 * ENROLLED
 *
 * A question that is asked again (its answer was lost, or it came through two brokers) costs no
 * second use. What is refused is logged with the key's fingerprint. */
#include "gateway/registry/private.h"

#include "common/clock.h"
#include "common/log.h"

#include <ctype.h>
#include <inttypes.h>
#include <sodium/utils.h>
#include <stdlib.h>
#include <string.h>

#define ACK_MS      1000  /* for brokers to have the key before its peer is answered */
#define OLD_KEY_MS  60000 /* a key lives so long beside the one that replaces it */
#define NAME_LENGTH 56    /* of a node's name, its number aside: with it no longer than a host's */
#define NAMES_MAX   100000

static struct digest key_of(const struct fleet_enrol *asked)
{
    struct digest key;
    memcpy(key.bytes, asked->key.bytes, sizeof key.bytes);
    return key;
}

static void answer(struct registry *self, const struct fleet_enrol *asked, enum status status,
                   const char *name, const char *text)
{
    char fingerprint[CURVE_FINGERPRINT_SIZE];
    curve_fingerprint(fingerprint, &asked->key);
    if (status == STATUS_OK)
        LOG_INFO("enrolled", "node=%s key=%s", name, fingerprint);
    else
        LOG_WARN("enrol_refused", "key=%s name=%s reason=%s", fingerprint, asked->name, text);
    fleet_send_enrolled(self->config.fleet, asked->broker, asked->request, status, name, text);
}

/* --- names --------------------------------------------------------------------------------------
 */

/* Of "base" 1, of "base-7" 7, of other names 0. */
static unsigned long number_in(const char *name, const char *base)
{
    size_t size = strlen(base);
    char *end = NULL;
    if (strncmp(name, base, size) != 0 || (name[size] && name[size] != '-'))
        return 0;
    if (!name[size])
        return 1;
    unsigned long number = strtoul(name + size + 1, &end, 10);
    return *end || number > NAMES_MAX ? 0 : number;
}

/* The peer's own name, made fit for paths and shells; numbered when another node has it. */
static char *free_name(const struct registry *self, const struct fleet_enrol *asked)
{
    char base[NAME_LENGTH + 1];
    unsigned long highest = 0;
    bool taken = false;
    text_copy(base, sizeof base, asked->name);
    for (char *c = base; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            *c = '-';
    if (!isalnum((unsigned char)base[0]))
        text_copy(base, sizeof base, asked->role == WIRE_GATEWAY ? "gateway" : "worker");
    for (size_t i = 0; i < self->nodes_len; i++) {
        unsigned long number = number_in(self->nodes[i].name, base);
        if (self->nodes[i].state == NODE_REVOKED)
            continue;
        highest = MAX(highest, number);
        taken |= number == 1;
    }
    for (const struct enrol *e = self->enrols; e; e = e->next) {
        unsigned long number = e->committed ? 0 : number_in(e->node.name, base);
        highest = MAX(highest, number);
        taken |= number == 1;
    }
    return taken ? xasprintf("%s-%lu", base, highest + 1) : xstrdup(base);
}

/* --- checks -------------------------------------------------------------------------------------
 */

#define AGAIN "make a new one by `convoy token create`"

static enum status check_token(const struct issued *token, const struct fleet_enrol *asked,
                               struct error *why)
{
    char when[CLOCK_TEXT_SIZE];
    if (!token) /* exactly this: the broker goes on to the next gateway, which may have made it */
        return fail(why, STATUS_NOT_FOUND,
                    "this fleet does not know the token: it was removed or belongs to another "
                    "fleet: " AGAIN);
    const struct ledger_token *record = &token->record;
    if (clock_wall_ms() >= record->expires_ms)
        return fail(why, STATUS_FORBIDDEN, "the token expired at %s: " AGAIN,
                    clock_text(when, record->expires_ms));
    if (record->used + token->taking >= record->uses)
        return fail(why, STATUS_FORBIDDEN,
                    "the token was used up: it admits %" PRId64 " node%s and did: " AGAIN,
                    record->uses, record->uses == 1 ? "" : "s");
    if (record->role != (int64_t)asked->role)
        return fail(why, STATUS_FORBIDDEN,
                    "the token admits a %s, this is a %s: " AGAIN " --role %s",
                    record->role == WIRE_GATEWAY ? "gateway" : "worker",
                    asked->role == WIRE_GATEWAY ? "gateway" : "worker",
                    asked->role == WIRE_GATEWAY ? "gateway" : "worker");
    return STATUS_OK;
}

/* A token that gives a node its next key is good as long as the node is. */
static enum status check_node(const struct registry *self, const struct issued *token,
                              struct error *why)
{
    const struct ledger_node *node = registry_by_key(self, &token->record.node);
    if (node && registry_changing(self, node->name))
        return fail(why, STATUS_BUSY, "%s is being changed: ask again", node->name);
    if (node && node->state == NODE_REVOKED)
        return fail(why, STATUS_FORBIDDEN, "%s was revoked: " AGAIN, node->name);
    return STATUS_OK;
}

static enum status check_room(const struct registry *self, const struct digest *key,
                              struct error *why)
{
    if (ledger_full(self->config.ledger))
        return fail(why, STATUS_STORAGE_FULL, "the gateway's disk is full");
    if (self->enrols_len >= ENROLS_MAX)
        return fail(why, STATUS_BUSY, "too many nodes join at the same time");
    if (self->nodes_len >= REGISTRY_NODES_MAX)
        return fail(why, STATUS_INVALID, "the fleet has %d nodes on record: revoke some",
                    REGISTRY_NODES_MAX);
    if (registry_by_key(self, key))
        return fail(why, STATUS_INVALID,
                    "this key is on record already: join with a state folder that is empty");
    return STATUS_OK;
}

/* Its answer was lost: the same again. */
static bool answered_before(struct registry *self, const struct fleet_enrol *asked,
                            const struct issued *token)
{
    struct digest key = key_of(asked);
    const struct ledger_node *node = registry_by_key(self, &key);
    if (!node || !token || node->state == NODE_REVOKED ||
        !id_equal(&node->token, &token->record.id))
        return false;
    answer(self, asked, STATUS_OK, node->name, NULL);
    return true;
}

/* It came through two brokers, or again before the disk was done: the uses are not looked at. */
static bool being_admitted(const struct registry *self, const struct digest *key, struct error *why)
{
    for (const struct enrol *e = self->enrols; e; e = e->next)
        if (!e->committed && digest_equal(&e->node.public, key)) {
            fail(why, STATUS_BUSY, "this key is being admitted: ask again");
            return true;
        }
    return false;
}

/* --- the way to the answer ----------------------------------------------------------------------
 */

static void enrol_free(struct enrol *self)
{
    struct registry *registry = self->registry;
    struct enrol **at = &registry->enrols;
    while (*at != self)
        at = &(*at)->next;
    *at = self->next;
    registry->enrols_len--;
    front_timer_clear(registry->config.front, &self->timer);
    ledger_record_clear(LEDGER_node, &self->node);
    ledger_record_clear(LEDGER_node, &self->old);
    sodium_memzero(self, sizeof *self);
    free(self);
}

static void welcome(struct enrol *self)
{
    struct digest key = key_of(&self->asked);
    const struct ledger_node *node = registry_by_key(self->registry, &key);
    if (node && node->state == NODE_REVOKED)
        answer(self->registry, &self->asked, STATUS_FORBIDDEN, NULL, "it was revoked: " AGAIN);
    else if (node)
        answer(self->registry, &self->asked, STATUS_OK, node->name, NULL);
    enrol_free(self);
}

static void waited_enough(void *arg)
{
    struct enrol *self = arg;
    LOG_WARN("registry_unacknowledged", "version=%" PRId64 " action=%s", self->version,
             "the node is answered; a broker that lags lets it in later");
    welcome(self);
}

static bool all_have(const struct registry *self, int64_t version)
{
    for (uint32_t i = 0; i < fleet_brokers(self->config.fleet); i++) {
        struct fleet_broker broker = fleet_broker(self->config.fleet, i);
        if (broker.up && broker.trusted && self->acked[i] < version)
            return false;
    }
    return true;
}

void registry_settle(struct registry *self)
{
    for (struct enrol *e = self->enrols, *next; e; e = next) {
        next = e->next;
        if (e->committed && all_have(self, e->version))
            welcome(e);
    }
}

static void admitted(struct registry *self, struct enrol *enrol, struct issued *token)
{
    if (token)
        token->record.used++;
    struct ledger_node *old = registry_by_key(self, &enrol->old.public);
    if (old)
        old->until_ms = enrol->old.until_ms;
    struct ledger_node *node = ledger_record_copy(LEDGER_node, &enrol->node);
    registry_keep_node(self, node);
    free(node);
    self->version = MAX(self->version, enrol->version);
    enrol->committed = true;
    front_timer_set(self->config.front, &enrol->timer,
                    front_now_ns(self->config.front) + ACK_MS * NS_PER_MS, waited_enough, enrol);
    registry_push_all(self);
    registry_settle(self);
}

static void committed(void *arg, enum status status, const struct error *why)
{
    struct enrol *enrol = arg;
    struct registry *self = enrol->registry;
    if (self->closed) { /* its peer asks again */
        enrol_free(enrol);
        registry_end(self);
        return;
    }
    registry_end(self);
    struct issued *token = registry_token_by_id(self, &enrol->node.token);
    if (token)
        token->taking--;
    if (status == STATUS_OK) {
        admitted(self, enrol, token);
        return;
    }
    answer(self, &enrol->asked, status, NULL, why->text);
    enrol_free(enrol);
}

static void commit(struct registry *self, struct enrol *enrol, struct issued *token)
{
    struct ledger_change *edits = ledger_change_new();
    struct ledger_token used = token->record;
    used.used += ++token->taking;
    ledger_put(edits, LEDGER_token, &used);
    ledger_put(edits, LEDGER_node, &enrol->node);
    if (enrol->old.name)
        ledger_put(edits, LEDGER_node, &enrol->old);
    enrol->version = registry_version(self, edits);
    registry_begin(self);
    ledger_commit(self->config.ledger, &edits, committed, enrol);
}

static struct enrol *enrol_new(struct registry *self, const struct fleet_enrol *asked,
                               const struct issued *token)
{
    struct enrol *enrol = xcalloc(1, sizeof *enrol);
    const struct ledger_node *old = registry_by_key(self, &token->record.node);
    enrol->registry = self;
    enrol->asked = *asked;
    sodium_memzero(enrol->asked.secret, sizeof enrol->asked.secret);
    enrol->node = (struct ledger_node){
        .public = key_of(asked),
        .name = old ? xstrdup(old->name) : free_name(self, asked),
        .role = asked->role,
        .state = old ? old->state : NODE_MEMBER,
        .token = token->record.id,
        .joined_ms = clock_wall_ms(),
        .changed_ms = clock_wall_ms(),
    };
    if (old) {
        struct ledger_node *copy = ledger_record_copy(LEDGER_node, old);
        enrol->old = *copy;
        enrol->old.until_ms = clock_wall_ms() + OLD_KEY_MS;
        free(copy);
    }
    enrol->next = self->enrols;
    self->enrols = enrol;
    self->enrols_len++;
    return enrol;
}

void registry_on_enrol(void *arg, const struct fleet_enrol *asked)
{
    struct registry *self = arg;
    struct digest hash = token_hash(asked->secret), key = key_of(asked);
    struct issued *token = registry_token_by_hash(self, &hash);
    struct error why = {.status = STATUS_OK};
    if (answered_before(self, asked, token))
        return;
    enum status s = being_admitted(self, &key, &why) ? why.status : check_token(token, asked, &why);
    if (s == STATUS_OK)
        s = check_node(self, token, &why);
    if (s == STATUS_OK)
        s = check_room(self, &key, &why);
    if (s == STATUS_OK)
        commit(self, enrol_new(self, asked, token), token);
    else
        answer(self, asked, s, NULL, why.text);
}

/* Those that wait for brokers; those that wait for the ledger are freed when it is done. */
void registry_enrols_free(struct registry *self)
{
    for (struct enrol *e = self->enrols, *next; e; e = next) {
        next = e->next;
        front_timer_clear(self->config.front, &e->timer);
        if (e->committed)
            enrol_free(e);
    }
}
