#include "lb4/conf/written.h"

const struct conf_server *conf_written(const struct conf_service *service, size_t *ret_n)
{
    *ret_n = service->written ? service->n_written : service->n_servers;
    return service->written ? service->written : service->servers;
}

bool conf_has_names(const struct conf_service *service)
{
    size_t n;
    const struct conf_server *servers = conf_written(service, &n);

    for (size_t i = 0; i < n; i++)
        if (servers[i].host)
            return true;
    return false;
}
