//! A store that lives as long as its process: for tests, which start a second control plane on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Key, Store, StoreError, Write};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<Key, Vec<u8>>>);

impl Store for MemoryStore {
    fn load(&self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        Ok(self.records().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut records = self.records();
        for write in writes {
            match write {
                Write::Put(key, value) => drop(records.insert(key.clone(), value.clone())),
                Write::Delete(key) => drop(records.remove(key)),
                Write::Clear(scope) => {
                    let first = Key { scope: scope.clone(), kind: 0, name: String::new() };
                    let theirs = records.range(first..).map(|(key, _)| key).take_while(|key| key.scope == *scope);
                    for key in theirs.cloned().collect::<Vec<_>>() {
                        records.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }
}

impl MemoryStore {
    fn records(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
