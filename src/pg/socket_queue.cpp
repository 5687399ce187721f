#include "pg/socket_queue.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstring>

#if __has_include(<linux/inet_diag.h>)
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <unistd.h>
#endif

namespace pgleak {

namespace {

void copy_address(const sockaddr* from, std::uint8_t (&address)[16], std::uint16_t* port,
                  std::uint32_t* interface) {
  if (from->sa_family == AF_INET6) {
    sockaddr_in6 in6;
    std::memcpy(&in6, from, sizeof(in6));
    std::memcpy(address, &in6.sin6_addr, sizeof(in6.sin6_addr));
    *port = in6.sin6_port;
    *interface = in6.sin6_scope_id;
  } else if (from->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, from, sizeof(in));
    std::memcpy(address, &in.sin_addr, sizeof(in.sin_addr));
    *port = in.sin_port;
  }
}

}  // namespace

void describe_socket(int socket, const sockaddr* local, const sockaddr* remote, ClientSocket* result) {
  struct stat status;
  result->inode = fstat(socket, &status) == 0 ? static_cast<std::uint32_t>(status.st_ino) : 0;
  result->family = static_cast<std::uint8_t>(remote->sa_family);
  copy_address(local, result->local, &result->local_port, &result->interface);
  copy_address(remote, result->remote, &result->remote_port, &result->interface);
}

#if __has_include(<linux/inet_diag.h>)

namespace {

constexpr std::uint8_t kTcpCloseWait = 8;  // netinet/tcp.h has them, and so has a header of the kernel
constexpr std::uint8_t kTcpListen = 10;

// The kernel's answer to one request.
struct Answer {
  alignas(nlmsghdr) char bytes[2048];
};

// The kernel answers within sendto(), so the answer is there or never comes.
template <typename Request, typename Reply>
bool ask_kernel(const Request& request, Answer* answer, const Reply** reply, std::size_t* length) {
  static int netlink = -1;
  static std::uint32_t sequence = 0;
  if (netlink < 0) netlink = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
  if (netlink < 0) return false;

  struct {
    nlmsghdr header;
    Request request;
  } message{};
  message.header.nlmsg_len = sizeof(message);
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST;
  message.header.nlmsg_seq = ++sequence;
  message.request = request;
  if (send(netlink, &message, sizeof(message), MSG_DONTWAIT) != static_cast<ssize_t>(sizeof(message)))
    return false;
  for (;;) {
    const ssize_t received = recv(netlink, answer->bytes, sizeof(answer->bytes), MSG_DONTWAIT);
    if (received < static_cast<ssize_t>(sizeof(nlmsghdr))) return false;
    nlmsghdr header;
    std::memcpy(&header, answer->bytes, sizeof(header));
    if (header.nlmsg_seq != sequence) continue;  // late, of a request that was interrupted
    if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || header.nlmsg_len > static_cast<std::size_t>(received))
      return false;
    if (header.nlmsg_len < NLMSG_LENGTH(sizeof(Reply))) return false;
    *reply = reinterpret_cast<const Reply*>(answer->bytes + NLMSG_HDRLEN);
    *length = header.nlmsg_len - NLMSG_LENGTH(sizeof(Reply));
    return true;
  }
}

// Copies `size` bytes at `offset` of the attribute `type`. Returns false if it is not there, or shorter.
bool copy_attribute(const void* attributes, std::size_t length, int type, std::size_t offset, void* value,
                    std::size_t size) {
  const char* next = static_cast<const char*>(attributes);
  while (length >= NLA_HDRLEN) {
    nlattr attribute;
    std::memcpy(&attribute, next, sizeof(attribute));
    if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > length) return false;
    if (attribute.nla_type == type) {
      if (attribute.nla_len < NLA_HDRLEN + offset + size) return false;
      std::memcpy(value, next + NLA_HDRLEN + offset, size);
      return true;
    }
    const std::size_t step = NLA_ALIGN(attribute.nla_len);
    if (step >= length) return false;
    next += step;
    length -= step;
  }
  return false;
}

// What the kernel says about one end of a TCP connection.
struct TcpSocket {
  inet_diag_msg message;
  std::optional<std::int64_t> transferred;  // bytes received, and bytes sent and acknowledged
};

bool find_tcp_socket(const ClientSocket& socket, bool is_clients, TcpSocket* result) {
  inet_diag_req_v2 request{};
  request.sdiag_family = socket.family;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_ext = 1U << (INET_DIAG_INFO - 1);
  request.idiag_states = ~0U;
  inet_diag_sockid& id = request.id;
  std::memcpy(id.idiag_src, is_clients ? socket.remote : socket.local, sizeof(id.idiag_src));
  std::memcpy(id.idiag_dst, is_clients ? socket.local : socket.remote, sizeof(id.idiag_dst));
  id.idiag_sport = is_clients ? socket.remote_port : socket.local_port;
  id.idiag_dport = is_clients ? socket.local_port : socket.remote_port;
  id.idiag_if = socket.interface;
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  Answer answer;
  const inet_diag_msg* reply = nullptr;
  std::size_t length = 0;
  if (!ask_kernel(request, &answer, &reply, &length)) return false;
  result->message = *reply;
  std::uint64_t acknowledged = 0;
  std::uint64_t received = 0;
  const bool has_counts =
      copy_attribute(reply + 1, length, INET_DIAG_INFO, offsetof(tcp_info, tcpi_bytes_acked), &acknowledged,
                     sizeof(acknowledged)) &&
      copy_attribute(reply + 1, length, INET_DIAG_INFO, offsetof(tcp_info, tcpi_bytes_received), &received,
                     sizeof(received));
  result->transferred = std::nullopt;
  if (has_counts) result->transferred = static_cast<std::int64_t>(acknowledged + received);
  // If there is no such connection, the kernel answers with a socket that listens on the port.
  return reply->idiag_state != kTcpListen;
}

std::optional<SocketQueue> read_tcp_queue(const ClientSocket& socket) {
  TcpSocket own;
  if (!find_tcp_socket(socket, false, &own) || own.message.idiag_inode != socket.inode) return std::nullopt;
  SocketQueue queue{own.message.idiag_wqueue, own.transferred, own.message.idiag_state == kTcpCloseWait};
  TcpSocket clients;
  if (!find_tcp_socket(socket, true, &clients)) return queue;
  queue.unread += clients.message.idiag_rqueue;
  if (queue.transferred) *queue.transferred -= clients.message.idiag_rqueue;
  return queue;
}

// What the kernel says about a Unix-domain socket.
struct UnixSocket {
  unix_diag_rqlen queues;
  std::uint32_t peer;     // inode; 0: none
  std::uint8_t shutdown;  // bit 0: nothing more will be received
};

bool find_unix_socket(std::uint32_t inode, UnixSocket* result) {
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0U;
  request.udiag_ino = inode;
  request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  request.udiag_cookie[0] = request.udiag_cookie[1] = ~0U;
  Answer answer;
  const unix_diag_msg* reply = nullptr;
  std::size_t length = 0;
  if (!ask_kernel(request, &answer, &reply, &length)) return false;

  *result = UnixSocket{};
  copy_attribute(reply + 1, length, UNIX_DIAG_PEER, 0, &result->peer, sizeof(result->peer));
  copy_attribute(reply + 1, length, UNIX_DIAG_SHUTDOWN, 0, &result->shutdown, sizeof(result->shutdown));
  return copy_attribute(reply + 1, length, UNIX_DIAG_RQLEN, 0, &result->queues, sizeof(result->queues));
}

std::optional<SocketQueue> read_unix_queue(const ClientSocket& socket) {
  UnixSocket own;
  if (!find_unix_socket(socket.inode, &own)) return std::nullopt;
  SocketQueue queue{own.queues.udiag_wqueue, std::nullopt, (own.shutdown & 1) != 0};
  UnixSocket clients;
  if (own.peer != 0 && find_unix_socket(own.peer, &clients)) queue.unread += clients.queues.udiag_rqueue;
  return queue;
}

}  // namespace

std::optional<SocketQueue> read_socket_queue(const ClientSocket& socket) {
  if (socket.inode == 0) return std::nullopt;
  return socket.family == AF_UNIX ? read_unix_queue(socket) : read_tcp_queue(socket);
}

#else

std::optional<SocketQueue> read_socket_queue(const ClientSocket&) { return std::nullopt; }

#endif

}  // namespace pgleak
