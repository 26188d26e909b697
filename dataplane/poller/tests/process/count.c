/* Counts what each thread of gantry-dataplane allocates and frees, for allocations.rs: preloaded, it stands between the
 * process and glibc's malloc, on which Rust's allocator is built too, and DPDK's rte_malloc.
 *
 * GANTRY_COUNTS names a file of SLOTS slots of four 64-bit numbers: thread id, allocations, frees, zero. A thread takes
 * a slot with its first call. For system_calls.rs it also lets any process of the same user trace this one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS 256

struct slot {
	_Atomic uint64_t tid, allocations, frees, zero;
};

static struct slot *_Atomic slots;
static _Atomic unsigned taken;
/* initial-exec: reaching it must not allocate. */
static __thread struct slot *mine __attribute__((tls_model("initial-exec")));

/* glibc's own, under the names that need no dlsym, which itself allocates. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

__attribute__((constructor)) static void start(void)
{
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	const char *path = getenv("GANTRY_COUNTS");
	if (!path)
		return;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, SLOTS * sizeof(struct slot)))
		abort();
	void *memory = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		abort();
	close(fd);
	atomic_store(&slots, memory);
}

static struct slot *slot(void)
{
	static struct slot before;
	struct slot *all = atomic_load_explicit(&slots, memory_order_acquire);
	if (!all)
		return &before;
	if (!mine) {
		unsigned index = atomic_fetch_add(&taken, 1);
		if (index >= SLOTS)
			abort();
		atomic_store(&all[index].tid, (uint64_t)syscall(SYS_gettid));
		mine = &all[index];
	}
	return mine;
}

static void allocated(void)
{
	atomic_fetch_add_explicit(&slot()->allocations, 1, memory_order_relaxed);
}

static void freed(void)
{
	atomic_fetch_add_explicit(&slot()->frees, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
	allocated();
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocated();
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	allocated();
	return __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
	size_t bytes;
	allocated();
	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(old, bytes);
}

void free(void *memory)
{
	if (memory)
		freed();
	__libc_free(memory);
}

void *memalign(size_t align, size_t size)
{
	allocated();
	return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	allocated();
	return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	allocated();
	if (align % sizeof(void *) || !align || align & (align - 1))
		return EINVAL;
	void *memory = __libc_memalign(align, size);
	if (!memory)
		return ENOMEM;
	*out = memory;
	return 0;
}

/* DPDK's heap. The real function is looked up on the first call of each, by whichever thread makes it. */
static void *next(_Atomic(void *) *known, const char *name)
{
	void *found = atomic_load(known);
	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		if (!found)
			abort();
		atomic_store(known, found);
	}
	return found;
}

#define RTE(name, parameters, arguments) \
	void *name parameters \
	{ \
		typedef void *(*function) parameters; \
		static _Atomic(void *) known; \
		allocated(); \
		return ((function)next(&known, #name))arguments; \
	}

RTE(rte_malloc, (const char *type, size_t size, unsigned align), (type, size, align))
RTE(rte_zmalloc, (const char *type, size_t size, unsigned align), (type, size, align))
RTE(rte_calloc, (const char *type, size_t count, size_t size, unsigned align), (type, count, size, align))
RTE(rte_realloc, (void *old, size_t size, unsigned align), (old, size, align))
RTE(rte_malloc_socket, (const char *type, size_t size, unsigned align, int socket), (type, size, align, socket))
RTE(rte_zmalloc_socket, (const char *type, size_t size, unsigned align, int socket), (type, size, align, socket))
RTE(rte_calloc_socket, (const char *type, size_t count, size_t size, unsigned align, int socket),
    (type, count, size, align, socket))
RTE(rte_realloc_socket, (void *old, size_t size, unsigned align, int socket), (old, size, align, socket))

void rte_free(void *memory)
{
	typedef void (*function)(void *);
	static _Atomic(void *) known;
	if (memory)
		freed();
	((function)next(&known, "rte_free"))(memory);
}
