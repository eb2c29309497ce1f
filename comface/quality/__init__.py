"""Quality of synthetic faces by how steady their embedding is (SER-FIQ; supplement, C.1)."""
