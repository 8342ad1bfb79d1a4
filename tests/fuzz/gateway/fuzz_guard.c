/* fuzz_guard - requests as octets through libmicrohttpd to our guard
 *
 * Input: what a client sends on one connection. The daemon is the real one; its handler asks the
 * guard about each request as gateway/http does, and answers with the body's size. Of what the
 * guard lets through, a proxy in front must not see another framing: so the header lines of the
 * first request are counted here once more, by the plainest reading there is. */
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/http/private.h"
#include "tests/fuzz/fuzz.h"

#define TURNS_MAX 1000

static const uint8_t *sent; /* of this run */
static size_t sent_size;
static unsigned requests; /* that the daemon told us of, in this run */

/* Lines of the head that name this header, in any case, with or without blanks before the colon. */
static unsigned count_lines(const char *name)
{
    unsigned count = 0;
    size_t length = strlen(name), at = 0;
    while (at < sent_size && (sent[at] == '\r' || sent[at] == '\n'))
        at++; /* empty lines before a request are nothing */
    while (at < sent_size) {
        const uint8_t *line = sent + at, *end = memchr(line, '\n', sent_size - at);
        size_t size = end ? (size_t)(end - line) : sent_size - at;
        /* libmicrohttpd 0.9.75 takes a line without a name for the end of the head, and what
         * follows for a body or the next request; it shows that line to nobody. */
        if (size == 0 || line[0] == '\r' || line[0] == ':')
            break;
        if (size > length && strncasecmp((const char *)line, name, length) == 0) {
            size_t colon = length;
            while (colon < size && (line[colon] == ' ' || line[colon] == '\t'))
                colon++;
            count += colon < size && line[colon] == ':';
        }
        at += size + 1;
    }
    return count;
}

static void check_first(const struct http_framing *framing)
{
    unsigned lengths = count_lines("content-length"), codings = count_lines("transfer-encoding");
    if (framing->lengths != lengths || framing->encodings != codings || lengths + codings > 1 ||
        count_lines("host") > 1)
        panic("let through: %u content-length, %u transfer-encoding, %u host", lengths, codings,
              count_lines("host"));
}

static enum MHD_Result answer(struct MHD_Connection *mhd, unsigned status)
{
    static char text[] = "answer\n";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(mhd, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **request)
{
    static char begun; /* its address says that the head was looked at */
    struct error why;
    (void)arg, (void)url, (void)method, (void)data;
    if (!*request) {
        struct http_framing framing = http_framing_of(mhd);
        *request = &begun;
        if (http_guard(&framing, version, &why) != STATUS_OK) {
            assert(why.text[0]);
            return MHD_NO; /* whatever follows is not looked at */
        }
        if (++requests == 1 && !memchr(sent, '\0', sent_size))
            check_first(&framing);
        return MHD_YES;
    }
    if (*data_size > 0) {
        *data_size = 0;
        return MHD_YES;
    }
    return answer(mhd, MHD_HTTP_OK);
}

static void quiet(void *arg, const char *format, va_list values)
{
    (void)arg, (void)format, (void)values;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct MHD_Daemon *daemon;
    const struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    char answers[4096];
    int ends[2];
    if (!daemon) /* http/server.c starts its own with the same flags, but for threads and port */
        daemon = MHD_start_daemon(
            MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL, 0, NULL, NULL, on_request,
            NULL, MHD_OPTION_EXTERNAL_LOGGER, quiet, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32 * KIB, MHD_OPTION_END);
    if (!daemon || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        panic("no daemon, or no sockets");
    sent = data;
    sent_size = size;
    requests = 0;
    if (size > 0 && write(ends[0], data, size) != (ssize_t)size)
        panic("the socket takes no %zu octets", size);
    shutdown(ends[0], SHUT_WR);
    if (MHD_add_connection(daemon, ends[1], (const struct sockaddr *)&nobody, sizeof nobody) ==
        MHD_YES)
        for (int turn = 0; turn < TURNS_MAX; turn++) {
            MHD_run(daemon);
            ssize_t got = read(ends[0], answers, sizeof answers);
            if (got == 0)
                break;
        }
    close(ends[0]);
    MHD_run(daemon);
    return 0;
}
