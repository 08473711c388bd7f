{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
select id, amount from {{ ref('orders_clean') }}
{% if is_incremental() %}where id > (select coalesce(max(id), 0) - 5 from {{ this }}){% endif %}
