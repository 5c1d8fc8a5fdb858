#include "lb4/conf/memory.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/conf/access.h"
#include "lb4/conf/prefix_list.h"
#include "lb4/conf/proxies.h"

enum { DRAIN_DEFAULT_MS = 30000 };

void conf_init(struct conf *conf)
{
    *conf = (struct conf){
        .pipes_auto = true,
        .splice = true,
        .cpu_affinity = true,
        .tunes_scheduling = true,
        .io_uring = true,
        .drain_ms = DRAIN_DEFAULT_MS,
    };
}

static void free_files(char **files)
{
    for (char **file = files; file && *file; file++)
        free(*file);
    free(files);
}

static void free_servers(struct conf_server **servers, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        free((*servers)[i].host);
    free(*servers);
    *servers = NULL;
    *n = 0;
}

void conf_free_servers(struct conf_service *service)
{
    free_servers(&service->servers, &service->n_servers);
}

void conf_free_written(struct conf_service *service)
{
    free_servers(&service->written, &service->n_written);
}

void conf_free_check(struct conf_check *check)
{
    free(check->send);
    free(check->expect);
    free(check->host);
    check->send = NULL;
    check->expect = NULL;
    check->host = NULL;
}

static void free_listens(struct conf_service *service)
{
    for (size_t i = 0; i < service->n_listens; i++)
        conf_proxies_free(&service->listens[i]);
    free(service->listens);
}

void conf_free(struct conf *conf)
{
    for (size_t i = 0; i < conf->n_services; i++) {
        free_listens(&conf->services[i]);
        conf_free_check(&conf->services[i].check);
        conf_free_written(&conf->services[i]);
        conf_free_servers(&conf->services[i]);
        conf_access_free(&conf->services[i].rules);
    }
    conf_access_free(&conf->default_rules);
    prefix_list_free_all(conf);
    free(conf->services);
    for (size_t i = 0; i < conf->n_origins; i++)
        free(conf->origins[i]);
    free(conf->origins);
    free_files(conf->files);
    conf_init(conf);
}

/* Room for element n of *array, doubling at powers of two: the model needs no capacity fields. */
static void *append_zeroed(void **array, size_t n, size_t size)
{
    if ((n & (n - 1)) == 0) {
        void *moved = reallocarray(*array, n ? 2 * n : 1, size);

        if (!moved)
            return NULL;
        *array = moved;
    }
    return memset((char *)*array + n * size, 0, size);
}

struct conf_service *conf_add_service(struct conf *conf)
{
    void *array = conf->services;
    struct conf_service *service = append_zeroed(&array, conf->n_services, sizeof(*service));

    conf->services = array;
    if (service)
        conf->n_services++;
    return service;
}

struct conf_listen *conf_add_listen(struct conf_service *service)
{
    void *array = service->listens;
    struct conf_listen *listen = append_zeroed(&array, service->n_listens, sizeof(*listen));

    service->listens = array;
    if (listen)
        service->n_listens++;
    return listen;
}

struct conf_server *conf_add_server(struct conf_service *service)
{
    void *array = service->servers;
    struct conf_server *server = append_zeroed(&array, service->n_servers, sizeof(*server));

    service->servers = array;
    if (server)
        service->n_servers++;
    return server;
}

/* Neighbours often say the same: they share one. */
const struct origin *conf_add_origin(struct conf *conf, const struct origin *origin)
{
    size_t n = conf->n_origins;
    struct origin **origins;

    if (n > 0 && origin_equal(conf->origins[n - 1], origin))
        return conf->origins[n - 1];
    origins = reallocarray(conf->origins, n + 1, sizeof(struct origin *));
    if (!origins)
        return NULL;
    conf->origins = origins;
    origins[n] = malloc(sizeof(*origin));
    if (!origins[n])
        return NULL;
    *origins[n] = *origin;
    conf->n_origins++;
    return origins[n];
}

const char *conf_add_file(struct conf *conf, const char *name)
{
    size_t n = 0;
    char **files;

    while (conf->files && conf->files[n])
        n++;
    files = reallocarray(conf->files, n + 2, sizeof(*files));
    if (!files)
        return NULL;
    conf->files = files;
    files[n] = strdup(name);
    files[n + 1] = NULL;
    return files[n];
}
