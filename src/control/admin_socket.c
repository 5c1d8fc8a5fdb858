#include "lb4/control/admin_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lb4/conf/bounds.h"

enum {
    BACKLOG = 64, /* clients that connect at the same time; those beyond are told to wait; chosen */
    SOCKET_MODE = 0600,
    FOLDER_MODE = 0750
};

struct place {
    const char *path;
    char folder[CONF_PATH_MAX + 1];
    uid_t uid;
    gid_t gid;
    char *reterr;
};

static int refuse(const struct place *place, int error, const char *why)
{
    snprintf(place->reterr, ADMIN_SOCKET_ERROR_MAX, "admin socket %s: %s", place->path, why);
    return -error;
}

static int refuse_errno(const struct place *place, const char *what)
{
    int error = errno;
    char why[ADMIN_SOCKET_ERROR_MAX / 2];

    snprintf(why, sizeof(why), "%s: %s", what, strerror(error));
    return refuse(place, error, why);
}

static int place_init(struct place *place, const char *path)
{
    const char *slash = strrchr(path, '/');

    place->path = path;
    if (!slash || strlen(path) > CONF_PATH_MAX)
        return refuse(place, ENAMETOOLONG, "not an absolute path of at most 107 bytes");
    snprintf(place->folder, sizeof(place->folder), "%.*s", slash == path ? 1 : (int)(slash - path),
             path);
    return 0;
}

/* /run is empty after each boot, so nobody else would make it. */
static bool is_directly_in_run(const char *folder)
{
    return strncmp(folder, "/run/", 5) == 0 && folder[5] && !strchr(folder + 5, '/');
}

static int make_folder(const struct place *place)
{
    if (access(place->folder, F_OK) == 0 || !is_directly_in_run(place->folder))
        return 0;
    if (mkdir(place->folder, FOLDER_MODE) < 0)
        return errno == EEXIST ? 0 : refuse_errno(place, place->folder);
    if (chmod(place->folder, FOLDER_MODE) < 0 ||
        (place->uid != geteuid() && lchown(place->folder, place->uid, place->gid) < 0))
        return refuse_errno(place, place->folder);
    return 0;
}

int admin_socket_open(struct admin_socket *ret, const char *path, uid_t uid, gid_t gid,
                      char reterr[static ADMIN_SOCKET_ERROR_MAX])
{
    const struct unix_listen_options options = {
        .mode = SOCKET_MODE, .uid = uid, .gid = gid, .backlog = BACKLOG};
    struct place place = {.uid = uid, .gid = gid, .reterr = reterr};
    char why[UNIX_LISTEN_ERROR_MAX];
    int error = place_init(&place, path);

    *ret = (struct admin_socket){.fd = -1, .path = path};
    if (!error)
        error = make_folder(&place);
    if (error)
        return error;
    ret->fd = unix_listen(path, &options, &ret->file, why);
    if (ret->fd >= 0)
        return 0;
    error = ret->fd;
    ret->fd = -1;
    return refuse(&place, -error, why);
}

void admin_socket_close(struct admin_socket *admin)
{
    if (admin->fd < 0)
        return;
    close(admin->fd);
    admin->fd = -1;
    unix_listen_remove(admin->path, &admin->file);
}
