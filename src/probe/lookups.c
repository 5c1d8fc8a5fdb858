#include "lb4/probe/lookups.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/list.h"

enum { STACK_BYTES = 512 * 1024 };

/* One look-up: its thread's until it is over, then on the list. */
struct errand {
    struct list link;
    struct lookups *lookups;
    struct resolver_name name; /* host: malloc */
};

struct lookups {
    pthread_mutex_t mutex;   /* of all that follows */
    struct list over;        /* of struct errand */
    struct mailbox *control; /* NULL: it has left */
    size_t n_under_way;
    int (*prepare)(void); /* constant */
};

struct lookups *lookups_new(struct mailbox *control, int (*prepare)(void))
{
    struct lookups *lookups = calloc(1, sizeof(*lookups));

    if (!lookups)
        return NULL;
    pthread_mutex_init(&lookups->mutex, NULL);
    list_init(&lookups->over);
    lookups->control = control;
    lookups->prepare = prepare;
    return lookups;
}

static void errand_free(struct errand *errand)
{
    free((char *)(uintptr_t)errand->name.host);
    free(errand);
}

static struct errand *take_first(struct lookups *lookups)
{
    struct list *link = list_take_first(&lookups->over);

    return link ? container_of(link, struct errand, link) : NULL;
}

static void lookups_free(struct lookups *lookups)
{
    struct errand *errand;

    while ((errand = take_first(lookups)))
        errand_free(errand);
    pthread_mutex_destroy(&lookups->mutex);
    free(lookups);
}

void lookups_leave(struct lookups *lookups)
{
    bool is_last;

    if (!lookups)
        return;
    pthread_mutex_lock(&lookups->mutex);
    lookups->control = NULL;
    is_last = lookups->n_under_way == 0;
    pthread_mutex_unlock(&lookups->mutex);
    if (is_last)
        lookups_free(lookups);
}

/* Control's mailbox lives at least until it has left, which takes the lock. */
static void hand_in(struct errand *errand)
{
    struct lookups *lookups = errand->lookups;
    bool is_last;

    pthread_mutex_lock(&lookups->mutex);
    list_append(&lookups->over, &errand->link);
    lookups->n_under_way--;
    is_last = !lookups->control && lookups->n_under_way == 0;
    if (lookups->control)
        mailbox_post(lookups->control, MAILBOX_PROGRESS);
    pthread_mutex_unlock(&lookups->mutex);
    if (is_last)
        lookups_free(lookups);
}

static void *run_errand(void *arg)
{
    struct errand *errand = arg;

    errand->lookups->prepare();
    lookup_run(&errand->name);
    hand_in(errand);
    return NULL;
}

static struct errand *errand_new(struct lookups *lookups, const char *host, bool is_srv)
{
    struct errand *errand = calloc(1, sizeof(*errand));

    if (!errand)
        return NULL;
    errand->lookups = lookups;
    errand->name.is_srv = is_srv;
    errand->name.host = strdup(host);
    if (errand->name.host)
        return errand;
    free(errand);
    return NULL;
}

static bool start_thread(struct errand *errand)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attributes, run_errand, errand);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

/* Returns whether there is room for one more, which then counts. */
static bool take_room(struct lookups *lookups)
{
    bool has_room;

    pthread_mutex_lock(&lookups->mutex);
    has_room = lookups->n_under_way < LOOKUPS_MAX;
    lookups->n_under_way += has_room;
    pthread_mutex_unlock(&lookups->mutex);
    return has_room;
}

static void give_room(struct lookups *lookups)
{
    pthread_mutex_lock(&lookups->mutex);
    lookups->n_under_way--;
    pthread_mutex_unlock(&lookups->mutex);
}

bool lookups_start(struct lookups *lookups, const char *host, bool is_srv)
{
    struct errand *errand;

    if (!take_room(lookups))
        return false;
    errand = errand_new(lookups, host, is_srv);
    if (errand && start_thread(errand))
        return true;
    if (errand)
        errand_free(errand);
    give_room(lookups);
    return false;
}

bool lookups_take(struct lookups *lookups, struct resolver_name *ret)
{
    struct errand *errand;

    pthread_mutex_lock(&lookups->mutex);
    errand = take_first(lookups);
    pthread_mutex_unlock(&lookups->mutex);
    if (!errand)
        return false;
    *ret = errand->name;
    free(errand);
    return true;
}
