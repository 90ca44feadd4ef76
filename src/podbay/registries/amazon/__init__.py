"""Amazon ECR: tokens, repository policies, and the roles of nodes. Needs the extra `aws` (boto3), loaded when first used."""
