#include "lb4/relay/udp_unwrap.h"

#include "lb4/relay/proxy_header.h"

struct udp_packet udp_unwrap_cut(struct udp_packet *from)
{
    struct udp_packet datagram = *from;

    if (datagram.n_bytes > datagram.segment_bytes)
        datagram.n_bytes = datagram.segment_bytes;
    datagram.segment_bytes = datagram.n_bytes;
    from->bytes += datagram.n_bytes;
    from->n_bytes -= datagram.n_bytes;
    return datagram;
}

bool udp_unwrap(struct udp_packet *datagram, struct udp_key *key, struct udp_via *via)
{
    struct proxy_header header;
    const char *reason;

    if (proxy_header_read(datagram->bytes, datagram->n_bytes, PROXY_ACCEPTS_DATAGRAM, &header,
                          &reason) != PROXY_GOOD)
        return false;
    datagram->bytes += header.n_bytes;
    datagram->n_bytes -= (uint32_t)header.n_bytes;
    datagram->segment_bytes = datagram->n_bytes;
    if (header.is_local)
        return true;
    *via = (struct udp_via){.peer = key->client, .asked = header.asked};
    key->client = header.client;
    key->via = via;
    return true;
}
