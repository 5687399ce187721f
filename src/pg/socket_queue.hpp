// How much of what a session has sent its client has not read yet, as the kernel sees it.
//
// While the client reads slowly, the server's process sleeps until a good part of the send buffer is free;
// with TCP that buffer grows to megabytes. So the process itself shows no progress for half a minute, but its
// queue does. Linux only (sock_diag); elsewhere nothing is known. Never blocks, never ereports.
#ifndef PGLEAK_PG_SOCKET_QUEUE_HPP
#define PGLEAK_PG_SOCKET_QUEUE_HPP

#include <cstdint>
#include <optional>

#include "core/session.hpp"

struct sockaddr;

namespace pgleak {

// The server's end of a client connection. inode 0: it is not known.
struct ClientSocket {
  SessionId session;
  std::uint32_t inode;
  std::uint32_t interface;  // of a link-local address
  std::uint8_t family;      // AF_UNIX, AF_INET or AF_INET6; the rest is of the latter two
  std::uint8_t local[16];   // addresses and ports in network byte order
  std::uint8_t remote[16];
  std::uint16_t local_port;
  std::uint16_t remote_port;
};

// Fills all but `session` from the connection's file descriptor and addresses.
void describe_socket(int socket, const sockaddr* local, const sockaddr* remote, ClientSocket* result);

struct SocketQueue {
  std::int64_t unread;  // bytes; includes those in the client's own queue if the client is on this host
  // Bytes since the connection began that the client, or at least its kernel, has taken or sent; TCP only.
  // Grows only if the client reads or writes, however often the server's process is woken.
  std::optional<std::int64_t> transferred;
  bool is_peer_gone;  // the client has closed its end
};

// Nothing where the system does not say, or if the socket has gone. Costs two or four system calls.
std::optional<SocketQueue> read_socket_queue(const ClientSocket& socket);

}  // namespace pgleak

#endif
