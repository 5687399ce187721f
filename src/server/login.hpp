// Owns: the names a client gave when it logged in. Called by the guest.
#ifndef PGLEAK_SERVER_LOGIN_HPP
#define PGLEAK_SERVER_LOGIN_HPP

#include "core/episode.hpp"

namespace pgleak {

// Copies the database and role of this client backend's login, without touching a catalog. Only with
// a client connected (MyProcPort is set). Never ereports.
void copy_login_names(char (&database)[kNameSize], char (&role)[kNameSize]);

// True if the role of the login is a superuser. Never ereports.
bool is_login_superuser();

}  // namespace pgleak

#endif
