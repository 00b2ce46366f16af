/* struct open_how for the liburing that glommio 0.9 vendors; assembler files are spared. */
#ifndef __ASSEMBLER__
#include <linux/openat2.h>
#endif
