/* The names of unordered_dense on abseil's hash tables, which are as fast; what differs is that `erase` of an iterator
 * gives the next one. */
#ifndef MILLRACE_BENCH_UNORDERED_DENSE_H
#define MILLRACE_BENCH_UNORDERED_DENSE_H

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>
#include <cstddef>
#include <iterator>

namespace ankerl::unordered_dense
{
	template<typename Key>
	using hash = absl::Hash<Key>;

	template<typename Table>
	class erasing : public Table
	{
	public:
		using Table::Table;
		using Table::erase;
		using typename Table::iterator;

		iterator erase(iterator at)
		{
			iterator next = std::next(at);
			Table::erase(at);
			return next;
		}
	};

	template<typename Key, typename Value, typename Hash = hash<Key>>
	using map = erasing<absl::flat_hash_map<Key, Value, Hash>>;

	template<typename Key, typename Hash = hash<Key>>
	using set = erasing<absl::flat_hash_set<Key, Hash>>;
} // namespace ankerl::unordered_dense

#endif
