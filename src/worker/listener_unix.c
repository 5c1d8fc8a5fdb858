#include "lb4/worker/listener_unix.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/log.h"
#include "lb4/base/unix_path.h"

static const char *path_of(const struct listener *listener)
{
    return unix_path_text(listener->addr.un.number);
}

static int failed(const struct listener *listener, int error, const char *why,
                  char reterr[static LISTENER_ERROR_MAX])
{
    snprintf(reterr, LISTENER_ERROR_MAX, "cannot listen on unix:%s of service %s: %s",
             path_of(listener), listener->service->name, why);
    return error;
}

int listener_unix_probe(const struct listener *listener, char reterr[static LISTENER_ERROR_MAX])
{
    char why[UNIX_LISTEN_ERROR_MAX];
    int error = unix_listen_probe(path_of(listener), why);

    return error ? failed(listener, error, why, reterr) : 0;
}

int listener_unix_bind(struct listener *listener, const struct listener_owner *owner,
                       char reterr[static LISTENER_ERROR_MAX])
{
    const struct unix_listen_options options = {
        .mode = listener->words.mode, .uid = owner->uid, .gid = owner->gid, .backlog = INT_MAX};
    char why[UNIX_LISTEN_ERROR_MAX];
    int fd = unix_listen(path_of(listener), &options, &listener->file, why);

    return fd < 0 ? failed(listener, fd, why, reterr) : fd;
}

void listener_unix_remove(struct listener *listener)
{
    int error = unix_listen_remove(path_of(listener), &listener->file);

    listener->file = (struct unix_file){0};
    if (error)
        log_warn("unix:%s is left behind, it cannot be removed: %s (its folder must be writable "
                 "for who lb4 is)",
                 path_of(listener), strerror(-error));
}

bool listener_unix_is_lost(const struct listener *listener)
{
    return addr_is_unix(&listener->addr) && unix_listen_is_lost(path_of(listener), &listener->file);
}

void listener_unix_set_mode(struct listener *listener, uint32_t mode)
{
    int error = 0;

    if (listener->words.mode != mode && listener->file.inode != 0)
        error = unix_listen_chmod(path_of(listener), &listener->file, mode);
    listener->words.mode = mode;
    if (error)
        log_warn("unix:%s cannot get mode %04o: %s", path_of(listener), mode, strerror(-error));
}
