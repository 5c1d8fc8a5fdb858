/* The names of Unix stream sockets, each with a number, so that a struct addr can hold one.
 *
 * "/path" is a file; "@name" is an abstract name (unix(7)), which is no file and goes with its last
 * socket. The table only grows: what a number says is the same for the life of the process.
 *
 * Thread: main at the start, then control alone, adds, while it reads a configuration; any thread
 * that was handed a number may ask for it. */
#ifndef LB4_BASE_UNIX_PATH_H
#define LB4_BASE_UNIX_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    UNIX_PATH_MAX = 107,   /* bytes of a path or of "@name", without a NUL */
    UNIX_PATHS_MAX = 4096, /* different ones in the life of a process; chosen */
    UNIX_PATH_ERROR_MAX = 128
};

/* Can this be one? It is absolute or begins with '@', at most UNIX_PATH_MAX bytes, of printable
 * ASCII without blanks, quotes, '\\', '#', '{' and '}', so that it stands as it is in a
 * configuration, in a log and in JSON. false: no, with the reason in `reterr`. */
bool unix_path_is_valid(const char *path, char reterr[static UNIX_PATH_ERROR_MAX]);

/* The number of a path that is valid, from 1 on; the same for the same path. -ENOSPC: there are
 * UNIX_PATHS_MAX others; -ENOMEM. */
long unix_path_number(const char *path);

/* "/path", "@name"; "" for 0. */
const char *unix_path_text(uint32_t number);
bool unix_path_is_abstract(uint32_t number);

/* The number of a path that has one; 0 = it has none. Thread: as who adds. */
uint32_t unix_path_find(const char *path);

/* For bind(2) and connect(2). Returns the length; an abstract name is as long as it is. */
socklen_t unix_path_sockaddr(uint32_t number, struct sockaddr_un *ret);
socklen_t unix_path_to_sockaddr(const char *path, struct sockaddr_un *ret);

/* What getsockname(2) told, `length` bytes, as a path: "" for a socket without a name. */
void unix_path_of_sockaddr(const struct sockaddr_un *from, socklen_t length,
                           char ret[static UNIX_PATH_MAX + 1]);

#endif
