"""ComFace: representation learning for comparing faces, from synthetic pairs (Akamatsu et al., WACV 2025)."""
