// What the parts of a manifest must have in common; reads no text and no file.
#pragma once
#include "bundle/manifest.h"

namespace parley {

// Throws BundleError that names the key, what it should be and what it is.
void check_consistency(const Manifest& manifest);

}  // namespace parley
