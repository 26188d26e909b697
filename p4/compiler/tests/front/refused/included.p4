// The mistake is in a file that is included.

#include "parts/wrong.p4"
#include <nowhere.p4>
#define SQUARE(x) x * x
#if 1 +
#endif
