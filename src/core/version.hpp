// Owns: the version of the extension, in the code's one place.
// The other places (pgleak.control, META.json, the scripts, the changelogs) are checked against it by
// test/layering, and changed with it by `make bump`.
#ifndef PGLEAK_CORE_VERSION_HPP
#define PGLEAK_CORE_VERSION_HPP

namespace pgleak {

// Version of the SQL objects this library works with; the extension in the database must be at it.
inline constexpr char kExtensionVersion[] = "1.0";

}  // namespace pgleak

#endif
