// The version of the extension. pgleak.control, META.json, the scripts and the changelogs repeat it;
// test/layering checks that they agree, and `make bump` changes them all.
#ifndef PGLEAK_CORE_VERSION_HPP
#define PGLEAK_CORE_VERSION_HPP

namespace pgleak {

// Version of the SQL objects that this library works with. The extension in the database must have the same.
inline constexpr char kExtensionVersion[] = "1.0";

}  // namespace pgleak

#endif
