#include "lb4/control/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "lb4/base/log.h"
#include "lb4/base/number.h"
#include "lb4/base/unix_path.h"

enum { LABEL_MAX = 80, NAME_SHOWN_MAX = 48 };

/* --- environment ----------------------------------------------------------------------------- */

static bool is_for_us(const char *pid_text)
{
    uint64_t pid;

    return pid_text && number_parse(pid_text, 1, INT32_MAX, &pid) == 0 && pid == (uint64_t)getpid();
}

static void read_count(struct activation *activation, const char *text)
{
    uint64_t n = 0;

    if (number_parse(text, 0, ACTIVATION_FDS_MAX, &n) < 0)
        activation->bad_count = strdup(text);
    activation->n_fds = n;
    for (size_t i = 0; i < activation->n_fds; i++)
        fcntl(ACTIVATION_FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC);
}

void activation_read(struct activation *activation)
{
    const char *count = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");

    *activation = (struct activation){0};
    if (count && is_for_us(getenv("LISTEN_PID"))) {
        read_count(activation, count);
        activation->names = names ? strdup(names) : NULL;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

/* --- what they are --------------------------------------------------------------------------- */

static int fd_of(size_t index)
{
    return ACTIVATION_FIRST_FD + (int)index;
}

/* "descriptor 4 (lb4.socket)"; returns `text`. */
static const char *label(const struct activation *activation, size_t index,
                         char text[static LABEL_MAX])
{
    const char *name = activation->names;
    int length;

    for (size_t i = 0; name && i < index; i++) {
        name = strchr(name, ':');
        name = name ? name + 1 : NULL;
    }
    length = name ? (int)strcspn(name, ":") : 0;
    if (length > NAME_SHOWN_MAX)
        length = NAME_SHOWN_MAX;
    if (length > 0)
        snprintf(text, LABEL_MAX, "descriptor %d (%.*s)", fd_of(index), length, name);
    else
        snprintf(text, LABEL_MAX, "descriptor %d", fd_of(index));
    return text;
}

static __attribute__((format(printf, 3, 4))) int fail(int error, char *reterr, const char *format,
                                                      ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reterr, ACTIVATION_ERROR_MAX, format, args);
    va_end(args);
    return error;
}

static int get_int(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    return getsockopt(fd, level, name, &value, &length) < 0 ? -errno : value;
}

/* One whose path stands in the configuration is kept; a server's, too, until all is settled. */
static void note_unix(const struct activation *activation, size_t index)
{
    struct inherited_socket *socket = &activation->inherited.sockets[index];
    int fd = fd_of(index);
    struct sockaddr_un at = {0};
    socklen_t length = sizeof(at);
    char path[UNIX_PATH_MAX + 1];
    char text[LABEL_MAX];

    if (getsockname(fd, (struct sockaddr *)&at, &length) < 0)
        length = 0;
    unix_path_of_sockaddr(&at, length, path);
    if (unix_path_find(path) > 0 && get_int(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM &&
        get_int(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
        *socket = (struct inherited_socket){.fd = fd, .transport = CONF_TCP};
        addr_unix(unix_path_find(path), &socket->addr);
        return;
    }
    log_warn("%s passed by the service manager is a Unix socket, %s, which is no listener of the "
             "configuration: closed",
             label(activation, index, text), path[0] ? path : "without a name");
    close(fd);
}

/* The transport, or -EPROTOTYPE. */
static int transport_of(int fd)
{
    int type = get_int(fd, SOL_SOCKET, SO_TYPE);
    int protocol = get_int(fd, SOL_SOCKET, SO_PROTOCOL);

    if (type == SOCK_STREAM && protocol == IPPROTO_TCP)
        return CONF_TCP;
    if (type == SOCK_DGRAM && protocol == IPPROTO_UDP)
        return CONF_UDP;
    return -EPROTOTYPE;
}

/* Why a TCP or UDP socket can be no listener; NULL = it can. */
static const char *find_fault(int fd, enum conf_transport transport)
{
    struct addr peer;
    socklen_t length = sizeof(peer);

    if (transport == CONF_TCP && get_int(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
        return "is a TCP socket that does not listen (with Accept=yes systemd passes connections: "
               "lb4 needs Accept=no)";
    if (transport == CONF_UDP && getpeername(fd, &peer.sa, &length) == 0)
        return "is a UDP socket that is connected to one peer";
    return NULL;
}

static int note_socket(const struct activation *activation, size_t index, int domain, char *reterr)
{
    struct inherited_socket *socket = &activation->inherited.sockets[index];
    socklen_t length = sizeof(socket->addr);
    int fd = fd_of(index);
    int transport = domain == AF_INET || domain == AF_INET6 ? transport_of(fd) : -EPROTOTYPE;
    char text[LABEL_MAX];
    const char *fault;

    if (transport < 0)
        return fail(-EPROTOTYPE, reterr,
                    "%s passed by the service manager is neither a TCP nor a UDP socket",
                    label(activation, index, text));
    fault = find_fault(fd, transport);
    if (fault)
        return fail(-EPROTOTYPE, reterr, "%s passed by the service manager %s",
                    label(activation, index, text), fault);
    if (getsockname(fd, &socket->addr.sa, &length) < 0)
        return fail(-errno, reterr, "%s: getsockname: %s", label(activation, index, text),
                    strerror(errno));
    socket->is_dual_stack = domain == AF_INET6 && addr_is_wildcard(&socket->addr) &&
                            get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
    addr_normalise(&socket->addr);
    socket->transport = transport;
    socket->fd = fd;
    return 0;
}

static int look_at(const struct activation *activation, size_t index, char *reterr)
{
    int domain = get_int(fd_of(index), SOL_SOCKET, SO_DOMAIN);
    char text[LABEL_MAX];

    if (domain == -EBADF)
        return fail(domain, reterr, "LISTEN_FDS is %zu, but %s is not open", activation->n_fds,
                    label(activation, index, text));
    if (domain < 0)
        return fail(domain, reterr, "%s passed by the service manager is not a socket",
                    label(activation, index, text));
    if (domain != AF_UNIX)
        return note_socket(activation, index, domain, reterr);
    note_unix(activation, index);
    return 0;
}

int activation_open(struct activation *activation, char reterr[static ACTIVATION_ERROR_MAX])
{
    struct inherited *inherited = &activation->inherited;

    if (activation->bad_count)
        return fail(-EINVAL, reterr, "LISTEN_FDS '%.64s' is no number of descriptors, 0..%d",
                    activation->bad_count, ACTIVATION_FDS_MAX);
    if (activation->n_fds == 0)
        return 0;
    inherited->sockets = calloc(activation->n_fds, sizeof(*inherited->sockets));
    if (!inherited->sockets)
        return fail(-ENOMEM, reterr, "no memory for %zu passed sockets", activation->n_fds);
    inherited->n_sockets = activation->n_fds;
    for (size_t i = 0; i < inherited->n_sockets; i++)
        inherited->sockets[i].fd = -1;
    for (size_t i = 0; i < inherited->n_sockets; i++) {
        int error = look_at(activation, i, reterr);

        if (error)
            return error;
    }
    return 0;
}

/* --- what is left ---------------------------------------------------------------------------- */

static const char *transport_word(enum conf_transport transport)
{
    return transport == CONF_UDP ? "UDP" : "TCP";
}

/* A listener at the address of this socket that had to be bound by us. */
static const struct listener *find_listener(const struct listener_table *table,
                                            const struct inherited_socket *socket)
{
    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];

        if (!listener->is_inherited &&
            inherited_fits(socket, &listener->addr, listener->is_dual_stack))
            return listener;
    }
    return NULL;
}

int activation_settle(struct activation *activation, const struct listener_table *table,
                      char reterr[static ACTIVATION_ERROR_MAX])
{
    for (size_t i = 0; i < activation->inherited.n_sockets; i++) {
        const struct inherited_socket *socket = &activation->inherited.sockets[i];
        const struct listener *listener;
        char address[ADDR_TEXT_MAX];
        char text[LABEL_MAX];

        if (socket->fd < 0)
            continue;
        label(activation, i, text);
        addr_format(&socket->addr, address);
        listener = find_listener(table, socket);
        if (listener)
            return fail(-EPROTOTYPE, reterr,
                        "%s passed by the service manager is a %s socket on %s, where service %s "
                        "listens on %s",
                        text, transport_word(socket->transport), address, listener->service->name,
                        transport_word(listener->transport));
        log_warn("%s passed by the service manager, %s on %s, is no listener of the configuration: "
                 "closed",
                 text, transport_word(socket->transport), address);
    }
    activation_close(activation);
    return 0;
}

void activation_close(struct activation *activation)
{
    for (size_t i = 0; i < activation->inherited.n_sockets; i++)
        if (activation->inherited.sockets[i].fd >= 0)
            close(activation->inherited.sockets[i].fd);
    free(activation->inherited.sockets);
    free(activation->names);
    free(activation->bad_count);
    *activation = (struct activation){0};
}
