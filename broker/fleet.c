/* fleet - see fleet.h */
#include "broker/fleet.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOOK_NS  NS_PER_S
#define FILE_MAX (64 * KIB)

static bool is_file(const struct fleet_list *self)
{
    return self->source[0] != '\0' && strstr(self->source, "://") == NULL;
}

/* Lines become a list with commas; what follows # is for people. */
static enum status parse_lines(struct broker_list *out, char *text, struct error *why)
{
    char *save = NULL;
    unsigned number = 0;
    *out = (struct broker_list){.len = 0};
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct broker_list one;
        number++;
        line[strcspn(line, "#")] = '\0';
        if (line[strspn(line, " \t\r")] == '\0')
            continue;
        enum status s = brokers_parse(&one, line, why);
        if (s != STATUS_OK) {
            char place[32];
            snprintf(place, sizeof(place), "line %u", number);
            return fail_in(why, "%s", place);
        }
        for (size_t i = 0; i < one.len; i++)
            brokers_add(out, &one.list[i]);
    }
    return STATUS_OK;
}

static int64_t time_of(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return 0;
    return (int64_t)info.st_mtim.tv_sec * (int64_t)NS_PER_S + info.st_mtim.tv_nsec;
}

static enum status read_file(struct fleet_list *self, struct broker_list *out, struct error *why)
{
    char *text = NULL;
    size_t size;
    self->changed_ns = time_of(self->source);
    enum status s = file_read(&text, &size, self->source, FILE_MAX, why);
    if (s == STATUS_OK)
        s = parse_lines(out, text, why);
    free(text);
    return s == STATUS_OK ? s : fail_in(why, "%s", self->source);
}

enum status fleet_open(struct fleet_list *self, const char *source, struct error *why)
{
    *self = (struct fleet_list){.source = source};
    if (source[0] == '\0')
        return STATUS_OK;
    return is_file(self) ? read_file(self, &self->brokers, why)
                         : brokers_parse(&self->brokers, source, why);
}

bool fleet_changed(struct fleet_list *self, uint64_t now_ns)
{
    struct broker_list news;
    struct error why;
    if (!is_file(self) || now_ns < self->look_ns)
        return false;
    self->look_ns = now_ns + LOOK_NS;
    if (time_of(self->source) == self->changed_ns)
        return false;
    if (read_file(self, &news, &why) != STATUS_OK) {
        LOG_WARN("brokers_unread", "why=%s action=%s", why.text, "the old list stays");
        return false;
    }
    if (brokers_equal(&news, &self->brokers))
        return false;
    LOG_INFO("brokers_changed", "file=%s brokers=%zu before=%zu", self->source, news.len,
             self->brokers.len);
    self->brokers = news;
    return true;
}

void fleet_put(const struct fleet_list *self, struct wire_out *out)
{
    for (size_t i = 0; i < self->brokers.len; i++) {
        const struct broker_address *broker = &self->brokers.list[i];
        wire_map_open(out);
        wire_put_text(out, KEY_ENDPOINT, broker->endpoint);
        if (broker->keyed)
            wire_put_bytes(out, KEY_PUBLIC, broker->key.bytes, sizeof(broker->key.bytes));
        wire_map_close(out);
    }
}
