/* Intrusive doubly linked list, the one container of lb4.
 *
 * A `struct list` is both the head and the link that is embedded in an entry. A link that is on no
 * list points to itself, so list_remove() may be called on it at any time. Nothing is allocated.
 * Not shared between threads. */
#ifndef LB4_BASE_LIST_H
#define LB4_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

/* The object of type `type` in which `ptr` is the field `member`. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->prev = list;
    list->next = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

/* `entry` must be on no list. */
static inline void list_append(struct list *list, struct list *entry)
{
    entry->prev = list->prev;
    entry->next = list;
    list->prev->next = entry;
    list->prev = entry;
}

static inline void list_remove(struct list *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    list_init(entry);
}

/* The first link, taken off the list; NULL when the list is empty. */
static inline struct list *list_take_first(struct list *list)
{
    struct list *first = list->next;

    if (first == list)
        return NULL;
    list_remove(first);
    return first;
}

#endif
