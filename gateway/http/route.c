/* route - which row of the tables a path and method belong to */
#include "gateway/http/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE"};

enum http_method http_method_by_name(const char *name)
{
    if (strcmp(name, "HEAD") == 0)
        return HTTP_GET;
    for (enum http_method m = 0; m < HTTP_METHODS; m++)
        if (strcmp(name, names[m]) == 0)
            return m;
    return HTTP_METHODS;
}

/* Compare segment by segment; where {name} stands remember what the path has there. A slash at the
 * path's end is ignored. */
static bool match(const char *pattern, const char *path, struct http_capture *captures,
                  size_t *lens, size_t *captures_len)
{
    *captures_len = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        const char *end = strchr(pattern, '}');
        size_t len = strcspn(path, "/");
        assert(end && *captures_len < HTTP_CAPTURES_MAX);
        if (!len)
            return false;
        captures[*captures_len] =
            (struct http_capture){pattern + 1, (size_t)(end - pattern - 1), path};
        lens[(*captures_len)++] = len;
        pattern = end + 1;
        path += len;
    }
    return path[0] == '\0' || (path[0] == '/' && path[1] == '\0');
}

/* Copy what was matched, so that it outlives libmicrohttpd's buffer, which is decoded already. */
static void keep(struct http_request *request, const struct http_capture *captures,
                 const size_t *lens, size_t len)
{
    size_t room = 0;
    for (size_t i = 0; i < len; i++)
        room += lens[i] + 1;
    char *into = request->path_store = xmalloc(room + 1);
    for (size_t i = 0; i < len; i++) {
        request->captures[i] = captures[i];
        request->captures[i].text = into;
        memcpy(into, captures[i].text, lens[i]);
        into[lens[i]] = '\0';
        into += lens[i] + 1;
    }
    request->captures_len = len;
}

enum status http_route_find(const struct http_server *server, struct http_request *request,
                            const char *method, char *allow, size_t allow_size)
{
    struct http_capture captures[HTTP_CAPTURES_MAX];
    size_t lens[HTTP_CAPTURES_MAX], len, used = 0;
    enum http_method wanted = http_method_by_name(method);
    allow[0] = '\0';
    for (size_t t = 0; t < server->tables_len; t++) {
        const struct http_table *table = &server->tables[t];
        for (size_t r = 0; r < table->len; r++) {
            const struct http_route *route = &table->routes[r];
            if (!match(route->pattern, request->path, captures, lens, &len))
                continue;
            if (route->method == wanted) {
                request->route = route;
                request->owner = table->owner;
                request->method = wanted;
                keep(request, captures, lens, len);
                return STATUS_OK;
            }
            int n = snprintf(allow + used, allow_size - used, "%s%s", used ? ", " : "",
                             names[route->method]);
            used = MIN(used + (size_t)n, allow_size - 1);
        }
    }
    return used ? STATUS_UNSUPPORTED : STATUS_NOT_FOUND;
}
