#include "lb4/base/proc.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/number.h"
#include "lb4/base/scope.h"

enum {
    TEXT_MAX = 4096,    /* as much as the kernel gives of one of these files in one read */
    FIRST_PORT = 32768, /* defaults of the kernel, ip(7) */
    LAST_PORT = 60999
};

/* The first line; "" if it cannot be read. */
static void read_line(const char *path, char text[static TEXT_MAX])
{
    scope_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, TEXT_MAX - 1);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

size_t proc_numbers(const char *path, uint64_t *ret, size_t n)
{
    char text[TEXT_MAX];
    char *rest = text;
    char *word;
    size_t n_found = 0;

    read_line(path, text);
    while (n_found < n && (word = strsep(&rest, " \t"))) {
        if (!*word)
            continue;
        if (number_parse(word, 0, UINT64_MAX, &ret[n_found]) < 0)
            break;
        n_found++;
    }
    return n_found;
}

uint64_t proc_number(const char *path, uint64_t fallback)
{
    uint64_t number;

    return proc_numbers(path, &number, 1) == 1 ? number : fallback;
}

/* "8080" or "30000-40000"; the word is changed. */
static bool parse_ports(char *word, uint64_t *ret_first, uint64_t *ret_last)
{
    char *last = word + strcspn(word, "-");

    if (*last)
        *last++ = '\0';
    else
        last = word;
    return number_parse(word, 0, UINT16_MAX, ret_first) == 0 &&
           number_parse(last, *ret_first, UINT16_MAX, ret_last) == 0;
}

uint32_t proc_ports_listed(const char *list, uint32_t first, uint32_t last)
{
    uint32_t n_listed = 0;
    uint64_t from;
    uint64_t to;

    while (*list) {
        size_t n = strcspn(list, ",");
        char word[16];

        snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), list);
        if (!parse_ports(word, &from, &to))
            break;
        from = from > first ? from : first;
        to = to < last ? to : last;
        n_listed += to >= from ? (uint32_t)(to - from + 1) : 0;
        list += n + (list[n] == ',');
    }
    return n_listed;
}

void proc_ports_read(struct proc_ports *ret)
{
    uint64_t range[2];
    char reserved[TEXT_MAX];

    *ret = (struct proc_ports){.first = FIRST_PORT, .last = LAST_PORT};
    if (proc_numbers("/proc/sys/net/ipv4/ip_local_port_range", range, 2) == 2 &&
        range[0] <= range[1] && range[1] <= UINT16_MAX) {
        ret->first = (uint32_t)range[0];
        ret->last = (uint32_t)range[1];
    }
    read_line("/proc/sys/net/ipv4/ip_local_reserved_ports", reserved);
    ret->n_reserved = proc_ports_listed(reserved, ret->first, ret->last);
}
