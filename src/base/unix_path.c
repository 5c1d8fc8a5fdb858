#include "lb4/base/unix_path.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *paths[UNIX_PATHS_MAX + 1]; /* by number; [0] is nobody's */
static uint32_t n_paths;

static const size_t PATH_AT = offsetof(struct sockaddr_un, sun_path);

_Static_assert(sizeof(((struct sockaddr_un *)NULL)->sun_path) == UNIX_PATH_MAX + 1, "unix(7)");

static bool is_plain(const char *path)
{
    for (; *path; path++)
        if (*path <= ' ' || *path >= 0x7f || strchr("\"\\#{}'", *path))
            return false;
    return true;
}

bool unix_path_is_valid(const char *path, char reterr[static UNIX_PATH_ERROR_MAX])
{
    if ((path[0] != '/' && path[0] != '@') || path[1] == '\0' || strlen(path) > UNIX_PATH_MAX)
        snprintf(reterr, UNIX_PATH_ERROR_MAX,
                 "unix: needs an absolute path of at most %d bytes, or @ and an abstract name",
                 UNIX_PATH_MAX);
    else if (!is_plain(path))
        snprintf(reterr, UNIX_PATH_ERROR_MAX,
                 "unix: a path is of printable ASCII without blanks, quotes, \\, #, { and }");
    else
        return true;
    return false;
}

uint32_t unix_path_find(const char *path)
{
    for (uint32_t i = 1; i <= n_paths; i++)
        if (strcmp(paths[i], path) == 0)
            return i;
    return 0;
}

long unix_path_number(const char *path)
{
    uint32_t number = unix_path_find(path);

    if (number > 0)
        return number;
    if (n_paths == UNIX_PATHS_MAX)
        return -ENOSPC;
    paths[n_paths + 1] = strdup(path);
    if (!paths[n_paths + 1])
        return -ENOMEM;
    return ++n_paths;
}

const char *unix_path_text(uint32_t number)
{
    return number > 0 && number <= UNIX_PATHS_MAX && paths[number] ? paths[number] : "";
}

bool unix_path_is_abstract(uint32_t number)
{
    return unix_path_text(number)[0] == '@';
}

socklen_t unix_path_to_sockaddr(const char *path, struct sockaddr_un *ret)
{
    size_t n = strnlen(path, UNIX_PATH_MAX);

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, path, n);
    if (path[0] != '@')
        return sizeof(*ret);
    ret->sun_path[0] = '\0';
    return (socklen_t)(PATH_AT + n);
}

socklen_t unix_path_sockaddr(uint32_t number, struct sockaddr_un *ret)
{
    return unix_path_to_sockaddr(unix_path_text(number), ret);
}

void unix_path_of_sockaddr(const struct sockaddr_un *from, socklen_t length,
                           char ret[static UNIX_PATH_MAX + 1])
{
    size_t n = length > PATH_AT ? length - PATH_AT : 0;

    if (n > UNIX_PATH_MAX + 1)
        n = UNIX_PATH_MAX + 1;
    memset(ret, 0, UNIX_PATH_MAX + 1);
    if (n > 0 && from->sun_path[0] == '\0') {
        memcpy(ret, from->sun_path, n < UNIX_PATH_MAX ? n : UNIX_PATH_MAX);
        ret[0] = '@';
    } else {
        memcpy(ret, from->sun_path, n < UNIX_PATH_MAX ? n : UNIX_PATH_MAX);
    }
}
