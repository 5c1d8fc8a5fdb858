#include "lb4/worker/inherited.h"

#include "lb4/base/scope.h"

bool inherited_fits(const struct inherited_socket *socket, const struct addr *addr,
                    bool is_dual_stack)
{
    if (addr_equal(&socket->addr, addr))
        return is_dual_stack || !socket->is_dual_stack;
    return is_dual_stack && addr_is_wildcard(&socket->addr) &&
           addr_port(&socket->addr) == addr_port(addr);
}

int inherited_take(const struct inherited *inherited, const struct inherited_socket *like)
{
    for (size_t i = 0; i < inherited->n_sockets; i++) {
        struct inherited_socket *socket = &inherited->sockets[i];

        if (socket->fd >= 0 && socket->transport == like->transport &&
            inherited_fits(socket, &like->addr, like->is_dual_stack))
            return take_fd(&socket->fd);
    }
    return -1;
}
